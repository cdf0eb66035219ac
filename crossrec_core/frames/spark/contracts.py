"""A frame in, the same frame with exactly a table's columns out, or all differences in one error."""

from pyspark.sql import DataFrame
from pyspark.sql.types import DataType, StructType

from crossrec_core.errors import LakeError
from crossrec_core.tables import Table


def spark_schema(table: Table) -> StructType:
    """The table's columns as Spark has them."""
    schema = StructType.fromDDL(table.ddl)
    assert isinstance(schema, StructType)
    return schema


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """Put the columns in the table's order.

    Raises:
        LakeError: every missing, unexpected or mistyped column, in one line. Nullability is not compared: Spark loses
            track of it in most expressions.
    """
    expected = {field.name: field.dataType for field in spark_schema(table).fields}
    seen = {field.name: field.dataType for field in frame.schema.fields}
    problems = [f"{name} is missing" for name in expected if name not in seen]
    problems += [f"{name} is not declared" for name in seen if name not in expected]
    problems += [
        f"{name} is {seen[name].simpleString()}, expected {kind.simpleString()}"
        for name, kind in expected.items()
        if name in seen and not _same_type(seen[name], kind)
    ]
    if problems:
        raise LakeError(f"table {table.name}: {'; '.join(problems)}; mend the step that writes it")
    return frame.select(*expected)


def _same_type(seen: DataType, expected: DataType) -> bool:
    return seen.simpleString() == expected.simpleString()
