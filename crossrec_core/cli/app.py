"""argv in, rows on the screen out: the commands of `crossrec`. Errors become one line and exit status 1."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from crossrec_core.cli import lists
from crossrec_core.cli.one_line import one_line_errors
from crossrec_core.cli.output import check_ending, print_answer, print_json, write_batches
from crossrec_core.cli.runs import runs_of
from crossrec_core.errors import CrossRecError
from crossrec_core.lake import Lake
from crossrec_core.lake_reader import Answer, connect, query
from crossrec_core.ledger import rollback as roll_back

app = typer.Typer(
    help="Ask a published lake: lists, similar items, SQL. Needs no Spark.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

LakeOption = Annotated[str, typer.Option("--lake", envvar="CROSSREC_LAKE", help="Folder or URL of the lake.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TracebackOption = Annotated[bool, typer.Option("--traceback", help="Show the whole traceback of an error.")]
DomainOption = Annotated[str, typer.Option("--domain", help="Target domain; may be left out where there is one.")]
NOption = Annotated[int, typer.Option("-n", min=1, help="How many items.")]
USER_HIDDEN = ("user_id", "domain", "model", "is_fallback")  # the same in every row of one user's list


@app.command(epilog="Example: crossrec recommend ann --domain films -n 5")
def recommend(
    user: Annotated[str, typer.Argument(help="The user's id in the logs.", show_default=False)] = "",
    domain: DomainOption = "",
    n: NOption = 10,
    fresh: Annotated[bool, typer.Option("--fresh", help="Score with the published model now.")] = False,
    users: Annotated[Path | None, typer.Option(help="A CSV with a column user_id, or one id per line.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where lists for --users go: .csv, .jsonl or .parquet.")] = None,
    lake: LakeOption = "lake",
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Print the list of a user, or write those of many: crossrec recommend --users ids.csv --out lists.parquet"""
    with one_line_errors(traceback):
        if bool(user) == (users is not None) or (users is None) != (out is None) or (fresh and not user):
            raise CrossRecError("recommend: expected USER [--fresh], or --users FILE with --out FILE")
        if users is not None and out is not None:
            check_ending(out)
            user_ids = lists.read_user_ids(users)
            served = lists.find_served(Lake(lake), domain)
            num_rows = write_batches(out, lists.open_lists(Lake(lake), served, user_ids, n=n))
            told = {"users": len(user_ids), "rows": num_rows, "out": str(out)}
            print_json(told) if as_json else print(f"{num_rows:,} rows for {len(user_ids):,} users in {out}")
            return
        served = lists.find_served(Lake(lake), domain)
        _print_list(_list_of(Lake(lake), served, user, n=n, fresh=fresh), user, served, as_json=as_json)


@app.command(epilog="Example: crossrec similar 'Toy Story (1995)' --domain ml_100k")
def similar(
    item: Annotated[str, typer.Argument(help="The item's id in the logs.")],
    domain: DomainOption = "",
    n: NOption = 10,
    lake: LakeOption = "lake",
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Print the items nearest to an item: by the model's item vectors, else by what follows it in the logs."""
    with one_line_errors(traceback):
        from crossrec_core.cli.similar import find_similar

        served = lists.find_served(Lake(lake), domain)
        print_answer(find_similar(Lake(lake), served, item, n=n), as_json=as_json)


@app.command(epilog="Examples: crossrec sql 'SELECT * FROM latest_metrics' --json; crossrec sql --name metrics")
def sql(
    text: Annotated[str, typer.Argument(help="One SELECT over the lake's tables and views.", show_default=False)] = "",
    name: Annotated[str, typer.Option(help="Print a table or view instead of a query.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Rows to print at most.")] = 1000,
    lake: LakeOption = "lake",
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Ask the lake in SQL (DuckDB). Tables hold all runs, the latest_* views what is published. Nothing is changed."""
    with one_line_errors(traceback):
        if bool(text) == bool(name):
            raise CrossRecError("sql: expected a query, or --name with a table or view")
        published = lists.published_or_none(Lake(lake))
        with connect(Lake(lake), published=published) as connection:
            answer = query(connection, text or lists.select_all(connection, name), limit=limit + 1)
        print_answer(Answer(answer.columns, answer.rows[:limit]), as_json=as_json)
        if len(answer.rows) > limit:
            print(f"more than {limit} rows; --limit shows more", file=sys.stderr)


@app.command(epilog="Example: crossrec runs --lake s3a://bucket/lake")
def runs(lake: LakeOption = "lake", as_json: JsonOption = False, traceback: TracebackOption = False) -> None:
    """Print the runs the lake keeps, their state and which one is published."""
    with one_line_errors(traceback):
        print_answer(runs_of(Lake(lake)), as_json=as_json)


@app.command(epilog="Example: crossrec rollback, or crossrec rollback 20260131T020000")
def rollback(
    run_id: Annotated[str, typer.Argument(help="A published run; default: the one before.", show_default=False)] = "",
    lake: LakeOption = "lake",
    as_json: JsonOption = False,
    traceback: TracebackOption = False,
) -> None:
    """Publish an earlier run again, by one commit."""
    with one_line_errors(traceback):
        published = roll_back(Lake(lake), run_id or None)
        print_json({"published": published}) if as_json else print(f"run {published} is published")


@app.command(epilog="Example: crossrec doctor --lake lake")
def doctor(lake: LakeOption = "lake", as_json: JsonOption = False, traceback: TracebackOption = False) -> None:
    """Check Java, memory, disk, GPU, versions and the lake; exit status 1 when something must be mended."""
    with one_line_errors(traceback):
        from crossrec_core.cli.doctor import MISSING, OK, examine

        checks = examine(Lake(lake))
        rows = [(check.name, check.state, check.seen, "" if check.state == OK else check.advice) for check in checks]
        print_answer(Answer(("check", "state", "seen", "advice"), [*rows]), as_json=as_json)
        if any(check.state == MISSING for check in checks):
            raise typer.Exit(1)


def main() -> None:
    """The entry point of the `crossrec` command."""
    app(prog_name="crossrec")


def _list_of(lake: Lake, served: lists.Served, user: str, *, n: int, fresh: bool) -> Answer:
    if fresh:
        from crossrec_core.cli.fresh import score_fresh

        scored = score_fresh(lake, served, user, n=n)
        if scored is not None:
            return scored
    return lists.read_lists(lake, served, [user], n=n)


def _print_list(answer: Answer, user: str, served: lists.Served, *, as_json: bool) -> None:
    places = answer.to_dicts()
    if any(row["is_fallback"] for row in places):
        print(f"user {user!r} is not known in {served.domain}: this is its list for new users", file=sys.stderr)
    if as_json:
        print_answer(answer, as_json=True)
        return
    shown = [place for place, name in enumerate(answer.columns) if name not in USER_HIDDEN]
    rows = [tuple(row[place] for place in shown) for row in answer.rows]
    model = places[0]["model"] if places else served.models[0]
    title = f"{user} in {served.domain}: {model} of run {served.run_id}"
    print_answer(Answer(tuple(answer.columns[place] for place in shown), rows), as_json=False, title=title)


if __name__ == "__main__":
    main()
