"""Which outside models there are, which worker fits each, and what its environment holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossrec_core.errors import ConfigError

WORKERS = Path(__file__).resolve().parent / "workers"
COMMON = ("numpy>=2,<3", "scipy>=1.13", "optuna>=4.2,<6")


@dataclass(frozen=True)
class Package:
    """An outside package: the script that drives it, and what pip installs."""

    name: str
    worker: Path
    requirements: tuple[str, ...]


IMPLICIT = Package("implicit", WORKERS / "implicit_models.py", ("implicit==0.7.3", *COMMON))
# LightFM 1.17 does not build any more
LIGHTFM = Package("lightfm", WORKERS / "lightfm_models.py", ("lightfm-next==1.19.0", *COMMON))
SURPRISE = Package("surprise", WORKERS / "surprise_models.py", ("scikit-surprise==1.1.5", "pandas>=2.2", *COMMON))

FAISS = Package("faiss", WORKERS / "faiss_knn.py", ("faiss-cpu==1.15.1", "numpy>=2,<3"))

# Of benchmarks/metrics.py: RePlay with the Spark of the product, RecTools and ranx with what reads Parquet for them
REPLAY_ON_SPARK = Package(
    "replay", WORKERS / "replay_spark_metrics.py", ("replay-rec[spark]==0.22.0", "pyspark==4.3.0")
)
REPLAY_ON_POLARS = Package("replay", WORKERS / "replay_polars_metrics.py", REPLAY_ON_SPARK.requirements)
RECTOOLS_METRICS = Package("rectools", WORKERS / "rectools_metrics.py", ("rectools==0.19.0", "pyarrow==23.0.1"))
RANX = Package("ranx", WORKERS / "ranx_metrics.py", ("ranx==0.3.21", "pyarrow==23.0.1"))
POLARS = Package("polars", WORKERS / "prepare_polars.py", ("polars==2.1.0",))
PANDAS = Package("pandas", WORKERS / "prepare_pandas.py", ("pandas==3.1.1", "pyarrow==26.0.1"))
REPLAY_PREPARE = Package("replay", WORKERS / "prepare_replay.py", ("replay-rec[spark]==0.22.0",))
# Sequence models, all on one release of torch
TORCH = "torch==2.13.0"
RECTOOLS_EPOCHS = Package("rectools", WORKERS / "rectools_epochs.py", ("rectools[torch]==0.19.0", TORCH))
REPLAY_EPOCHS = Package("replay", WORKERS / "replay_epochs.py", ("replay-rec[torch]==0.22.0", TORCH))
# RecBole 1.2.1 writes into columns as pandas 2 lets it, and asks for a ray that needs pkg_resources
RECBOLE_EPOCHS = Package(
    "recbole", WORKERS / "recbole_epochs.py", ("recbole==1.2.1", TORCH, "numpy<2", "pandas<2.3", "setuptools<81")
)
# Of benchmarks/feed.py: Petastorm with the pyarrow and numpy it was written for
PETASTORM = Package(
    "petastorm", WORKERS / "petastorm_feed.py",
    ("petastorm==0.12.1", "pyarrow==14.0.2", "numpy<2", "pandas<2.3", TORCH, "setuptools<81"),
)  # fmt: skip
REPLAY_FEED = Package("replay", WORKERS / "replay_feed.py", REPLAY_EPOCHS.requirements)
# Their lists: both on the product's own torch, RePlay on its Spark too
RECTOOLS_LISTS = Package(
    "rectools", WORKERS / "rectools_recommend.py", ("rectools[torch]==0.19.0", TORCH, "pyarrow>=15,<26")
)
REPLAY_LISTS = Package(
    "replay", WORKERS / "replay_predict.py", ("replay-rec[spark,torch]==0.22.0", TORCH, "pyspark==4.3.0")
)

# Name in the tables -> package; what follows the first underscore is the worker's name of the model
PEERS = {
    "implicit_als": IMPLICIT,
    "implicit_bpr": IMPLICIT,
    "implicit_lmf": IMPLICIT,
    "implicit_cosine": IMPLICIT,
    "implicit_bm25": IMPLICIT,
    "lightfm_warp": LIGHTFM,
    "surprise_svd": SURPRISE,
}


def check_peers(names: Sequence[str], where: str) -> None:
    """Raises ConfigError for a name that is no peer."""
    unknown = sorted(set(names) - set(PEERS))
    if unknown:
        raise ConfigError(f"{where}: peers: unknown {', '.join(unknown)}; expected some of {', '.join(sorted(PEERS))}")
