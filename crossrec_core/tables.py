"""The lake's tables: name, grain, key, columns, partitions. Declared once; everything else reads it here.

Types are Spark SQL type names; a column is not null unless it says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from crossrec_core import columns as c

LAKE_VERSION = 1


@dataclass(frozen=True)
class Column:
    """One column: its Spark SQL type and what it means."""

    name: str
    type: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table of the lake. ``key`` holds within one run; ``partition_by`` starts with ``run_id``."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...]
    written_by: tuple[str, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The columns as a Spark SQL schema string."""
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)


RUN_ID = Column(c.RUN_ID, "string", "the run that wrote the row")
DOMAIN = Column(c.DOMAIN, "string", "domain as named in the settings")
PURPOSE = Column(c.PURPOSE, "string", "validate, backtest or serve: which events may be known")
MODEL = Column(c.MODEL, "string", "name of the model")
USER_ID = Column(c.USER_ID, "string", "the user's outside id")
ITEM_ID = Column(c.ITEM_ID, "string", "the item's outside id")
USER_NUM = Column(c.USER_NUM, "bigint", "our dense number of the user, from 1")
ITEM_NUM = Column(c.ITEM_NUM, "bigint", "our dense number of the item, from 1")
SEGMENT = Column(c.SEGMENT, "string", "all, or a segment of users or of truth items")


def _list(name: str, meaning: str) -> Column:
    return Column(name, "array<bigint>", f"{meaning}; oldest first, padded with 0 at the end")


SEQUENCE_LISTS = (
    _list(c.ITEM_NUMS, "items"),
    _list(c.DOMAIN_NUMS, "domain of each event"),
    _list(c.ACTION_NUMS, "action of each event"),
    _list(c.GAP_BUCKETS, "log2 bucket of the seconds since the event before (1 = first or order-only)"),
    _list(c.SESSION_STARTS, "1 where a session starts"),
    _list(c.EVENT_ORDERS, "unix microseconds, or the position for order-only logs"),
)

_LIKE_COUNTS = (
    Column(c.NUM_RATED, "bigint", "known events with a value"),
    Column(c.NUM_LIKES, "bigint", "those of domains.NAME.positive_value or more"),
)

# fmt: off
# A table reads as a table here: one line per column, shared columns side by side.
INTERACTIONS = Table(
    "interactions", "an event kept", (c.USER_ID, c.DOMAIN, c.ITEM_ID, c.ACTION, c.EVENT_ORDER),
    (
        RUN_ID, DOMAIN, USER_ID, ITEM_ID,
        Column(c.ACTION, "string", "event type as named in the settings"),
        Column(c.WEIGHT, "double", "weight of the event type"),
        Column(c.VALUE, "double", "rating, price, seconds watched...", nullable=True),
        Column(c.EVENT_TIME, "timestamp", "UTC; null for order-only logs", nullable=True),
        Column(c.EVENT_ORDER, "bigint", "unix microseconds, or the position for order-only logs"),
    ),
    (c.RUN_ID, c.DOMAIN), ("clean",),
)

REJECTS = Table(
    "rejects", "a raw row that was dropped", (),
    (
        RUN_ID,
        Column(c.DOMAIN, "string", "domain as named in the settings, or null when the row names none", nullable=True),
        Column(c.REASON, "string", "why the row was dropped"),
        Column(c.SOURCE_FILE, "string", "file or table the row came from", nullable=True),
        Column(c.RAW_TEXT, "string", "the row as it was read", nullable=True),
    ),
    (c.RUN_ID, c.REASON), ("clean", "prepare", "refresh"),
)

DATA_QUALITY = Table(
    "data_quality", "a check of a domain", (c.DOMAIN, "check"),
    (
        RUN_ID, DOMAIN,
        Column("check", "string", "rows_read, rows_kept, or rejected:REASON"),
        Column("value", "double", "what was counted or measured"),
    ),
    (c.RUN_ID,), ("clean", "prepare", "embed_text", "evaluate", "refresh"),
)

USER_FINGERPRINTS = Table(
    "user_fingerprints", "a user whose rows of the logs a run read, or whom it found gone", (c.USER_ID,),
    (
        RUN_ID, USER_ID,
        Column(c.NUM_ROWS, "bigint", "rows of the logs, over all domains; 0 for a user who has left them"),
        Column(c.FINGERPRINT, "bigint", "of those rows in any order: another one, and the user's lists are made anew"),
    ),
    (c.RUN_ID,), ("clean", "refresh"),
)

LOG_FILES = Table(
    "log_files", "a file of the logs, as a run found it before it read them; none where a log is a warehouse table",
    (c.SOURCE_FILE,),
    (
        RUN_ID, Column(c.SOURCE_FILE, "string", "its path"),
        Column("num_bytes", "bigint", "its size"),
        Column("modified_ms", "bigint", "when it was last written, unix milliseconds, as its storage says"),
    ),
    (c.RUN_ID,), ("clean", "refresh"),
)

AWAITED_EVENTS = Table(
    "awaited_events", "a user with an event of the future, which counts once its day has come", (c.USER_ID,),
    (RUN_ID, USER_ID, Column(c.EVENT_TIME, "timestamp", "UTC; of the first such event")),
    (c.RUN_ID,), ("clean", "refresh"),
)

RUN_PARTS = Table(
    "run_parts", "a run whose rows a refreshed run shows; a whole night has none", (c.PLACE,),
    (
        RUN_ID, Column(c.PART_RUN_ID, "string", "the run whose rows they are"),
        Column(c.PLACE, "bigint", "0 is the refreshed run itself, then the runs before it; the whole night is last"),
    ),
    (c.RUN_ID,), ("refresh",),
)

USER_IDS = Table(
    "user_ids", "a user of a user space; append-only over runs", (c.USER_SPACE, c.USER_ID),
    (
        Column(c.RUN_ID, "string", "the run that saw the user first"),
        Column(c.USER_SPACE, "string", "domains of one user space share users"), USER_ID, USER_NUM,
    ),
    (c.RUN_ID,), ("prepare", "refresh"),
)

ITEM_IDS = Table(
    "item_ids", "an item of an item space; append-only over runs, new numbers in hash order",
    (c.ITEM_SPACE, c.ITEM_ID),
    (
        Column(c.RUN_ID, "string", "the run that saw the item first"),
        Column(c.ITEM_SPACE, "string", "domains of one item space share items"), ITEM_ID, ITEM_NUM,
    ),
    (c.RUN_ID,), ("prepare",),
)

LABEL_IDS = Table(
    "label_ids", "a domain or action name; append-only over runs", (c.KIND, c.LABEL_NAME),
    (
        Column(c.RUN_ID, "string", "the run that saw the name first"),
        Column(c.KIND, "string", "domain or action"),
        Column(c.LABEL_NAME, "string", "the name"),
        Column(c.LABEL_NUM, "bigint", "its dense number, from 1"),
    ),
    (c.RUN_ID,), ("prepare",),
)

SPLIT_INTERACTIONS = Table(
    "split_interactions", "an interaction with dense numbers and its split", (),
    (
        RUN_ID, DOMAIN, USER_NUM, ITEM_NUM,
        Column("action_num", "bigint", "our dense number of the action, from 1"),
        Column(c.WEIGHT, "double", "weight of the event type"),
        Column(c.VALUE, "double", "value after normalisation", nullable=True),
        Column(c.EVENT_TIME, "timestamp", "UTC; null for order-only logs", nullable=True),
        Column(c.EVENT_ORDER, "bigint", "unix microseconds, or the position for order-only logs"),
        Column(c.TIE_BREAK, "bigint", "hash of the outside user and item: the order within one event_order"),
        Column(c.SPLIT, "string", "train, valid, test or out_of_core (k-core: masks lists, trains nothing)"),
    ),
    (c.RUN_ID, c.DOMAIN), ("prepare",),
)

HISTORIES = Table(
    "histories", "a user and a domain: what was known for a purpose", (c.PURPOSE, c.USER_NUM, c.DOMAIN),
    (
        RUN_ID, PURPOSE, DOMAIN, USER_NUM,
        Column(c.ITEM_NUMS, "array<bigint>", "the distinct items seen, ascending, uncut"),
        Column(c.NUM_EVENTS, "bigint", "events behind them"),
        Column(c.LAST_EVENT_ORDER, "bigint", "event_order of the latest"),
    ),
    (c.RUN_ID, c.PURPOSE, c.DOMAIN), ("prepare", "refresh"),
)

USER_LIKES = Table(
    "user_likes", "a user with values in a domain whose values say what is liked, as known for a purpose",
    (c.PURPOSE, c.USER_NUM, c.DOMAIN), (RUN_ID, PURPOSE, DOMAIN, USER_NUM, *_LIKE_COUNTS),
    (c.RUN_ID, c.PURPOSE, c.DOMAIN), ("prepare", "refresh"),
)

SEQUENCES = Table(
    "sequences", "a user's events on one clock, known for a purpose; all timed domains share the clock 'time'",
    (c.PURPOSE, c.USER_NUM, c.CLOCK),
    (
        RUN_ID, PURPOSE,
        Column(c.CLOCK, "string", "'time', or the domain's name for an order-only domain"),
        USER_NUM, Column(c.LENGTH, "bigint", "events before the padding"), *SEQUENCE_LISTS,
    ),
    (c.RUN_ID, c.PURPOSE), ("prepare", "refresh"),
)

EARLIER_SEQUENCES = Table(
    "earlier_sequences", "a stretch of events before those of a user's sequence, which training reads too",
    (c.PURPOSE, c.USER_NUM, c.CLOCK, c.PART),
    (
        RUN_ID, PURPOSE,
        Column(c.CLOCK, "string", "'time', or the domain's name for an order-only domain"),
        USER_NUM, Column(c.PART, "bigint", "1 is the stretch that ends where the sequence begins"),
        Column(c.LENGTH, "bigint", "events before the padding"), *SEQUENCE_LISTS,
    ),
    (c.RUN_ID, c.PURPOSE), ("prepare",),
)

VALIDATION_SEQUENCES = Table(
    "validation_sequences", "a sampled user with truth in the validation window of a domain",
    (c.USER_NUM, c.TARGET_DOMAIN_NUM),
    (
        RUN_ID, DOMAIN, USER_NUM,
        Column(c.TARGET_DOMAIN_NUM, "bigint", "the domain's number"),
        Column(c.LENGTH, "bigint", "events before the padding"), *SEQUENCE_LISTS,
        _list(c.TRUTH_NUMS, "the first validation items, known in training"),
    ),
    (c.RUN_ID, c.DOMAIN), ("prepare",),
)

USER_PROFILES = Table(
    "user_profiles", "a user, domain and category: interest", (c.USER_NUM, c.DOMAIN, c.CATEGORY),
    (
        RUN_ID, DOMAIN, USER_NUM, Column(c.CATEGORY, "string", "category of the catalogue"),
        Column(c.SHARE, "double", "time-decayed share of the user's events in the domain; sums to 1"),
    ),
    (c.RUN_ID, c.DOMAIN), ("prepare",),
)

ITEM_FEATURES = Table(
    "item_features", "an item of a domain: listed in its catalogue or seen in its log", (c.DOMAIN, c.ITEM_NUM),
    (
        RUN_ID, DOMAIN, ITEM_NUM, ITEM_ID,
        Column(c.TITLE, "string", "for people", nullable=True),
        Column(c.TEXT, "string", "for the text encoders", nullable=True),
        Column(c.CATEGORIES, "array<string>", "categories; empty if none"),
        Column(c.NUMERICS, "map<string,double>", "numeric attributes after normalisation"),
        Column(c.LABELS, "map<string,array<string>>", "multi-valued attributes"),
    ),
    (c.RUN_ID, c.DOMAIN), ("prepare",),
)

ITEM_POPULARITY = Table(
    "item_popularity", "a candidate item of a domain, as known for a purpose", (c.PURPOSE, c.DOMAIN, c.ITEM_NUM),
    (
        RUN_ID, PURPOSE, DOMAIN, ITEM_NUM,
        Column(c.NUM_EVENTS, "bigint", "known events; 0 for listed items nobody has touched"),
        Column(c.NUM_USERS, "bigint", "distinct users behind them"),
        Column(c.WEIGHT, "double", "sum of event weights"),
        Column(c.RECENT_WEIGHT, "double", "the same, halved for every score.recency_half_life_days of age"),
        Column(c.TREND_WEIGHTS, "array<double>", "the same for each of blend.half_lives_days"),
        Column(c.IS_HEAD, "boolean", "among the most popular items that make the head share of events"),
    ),
    (c.RUN_ID, c.PURPOSE, c.DOMAIN), ("prepare",),
)

ITEM_LIKES = Table(
    "item_likes", "an item with values in a domain whose values say what is liked, as known for a purpose",
    (c.PURPOSE, c.DOMAIN, c.ITEM_NUM), (RUN_ID, PURPOSE, DOMAIN, ITEM_NUM, *_LIKE_COUNTS),
    (c.RUN_ID, c.PURPOSE, c.DOMAIN), ("prepare",),
)

ITEM_VECTORS = Table(
    "item_vectors", "an item and a text encoder", (c.ENCODER, c.ITEM_NUM),
    (
        RUN_ID, Column(c.ENCODER, "string", "text encoder"), ITEM_NUM,
        Column(c.VECTOR, "array<float>", "unit length"),
    ),
    (c.RUN_ID, c.ENCODER), ("embed_text",),
)

TEXT_VECTORS = Table(
    "text_vectors", "a text and a sentence encoder; append-only over runs, so that only new texts are encoded",
    (c.ENCODER, c.TEXT_HASH),
    (
        Column(c.RUN_ID, "string", "the run that encoded the text first"),
        Column(c.ENCODER, "string", "kind, fingerprint of the weights, and the length texts are cut to"),
        Column(c.TEXT_HASH, "string", "SHA-256 of the text"),
        Column(c.VECTOR, "array<float>", "as the encoder made it, before whitening"),
    ),
    (c.RUN_ID, c.ENCODER), ("embed_text",),
)

ATTRIBUTE_IDS = Table(
    "attribute_ids", "an attribute value that enough training items have", (c.DOMAIN, c.KIND, c.LABEL_NAME),
    (
        RUN_ID, Column(c.DOMAIN, "string", "domain as named in the settings; empty for categories, which all share"),
        Column(c.KIND, "string", "category, label:NAME or number:NAME"),
        Column(c.LABEL_NAME, "string", "the value; for a number its bucket, from 0"),
        Column(c.ATTRIBUTE_NUM, "bigint", "its dense number, from 1"),
        Column(c.NUM_ITEMS, "bigint", "training items that have it"),
    ),
    (c.RUN_ID,), ("embed_text",),
)

ITEM_ATTRIBUTES = Table(
    "item_attributes", "an item that has numbered attribute values", (c.ITEM_NUM,),
    (
        RUN_ID, ITEM_NUM, Column(c.ATTRIBUTE_NUMS, "array<bigint>", "its values, the most frequent first"),
        Column(c.WEIGHTS, "array<float>", "1 / how many of them are of the same kind"),
    ),
    (c.RUN_ID,), ("embed_text",),
)

FEATURE_STATISTICS = Table(
    "feature_statistics", "a fitted statistic of a column", (c.DOMAIN, "table_name", "column_name", "statistic"),
    (
        RUN_ID, DOMAIN,
        Column("table_name", "string", "table the column belongs to"),
        Column("column_name", "string", "numeric column or attribute"),
        Column("statistic", "string", "fill, low, high, log1p, centre, scale, pca_mean or pca:K"),
        Column("value", "double", "fitted on training rows only"),
        Column("num_rows", "bigint", "rows it was fitted on"),
    ),
    (c.RUN_ID,), ("prepare",),
)

TRUTH = Table(
    "truth", "a held-out item of a user in a domain", (c.PURPOSE, c.DOMAIN, c.USER_ID, c.ITEM_ID),
    (
        RUN_ID, PURPOSE, DOMAIN, USER_ID, ITEM_ID, USER_NUM, ITEM_NUM,
        Column(c.SEGMENT, "string", "warm, cold_in_domain or new, by what was known before"),
        Column(c.IS_KNOWN_ITEM, "boolean", "whether the item was seen in the domain before"),
        Column(c.IS_HEAD, "boolean", "whether the item belongs to the head of what was known"),
    ),
    (c.RUN_ID, c.PURPOSE, c.DOMAIN), ("prepare",),
)

LABELLED_PAIRS = Table(
    "labelled_pairs", "a user and item of a domain with a label", (c.PURPOSE, c.DOMAIN, c.USER_ID, c.ITEM_ID),
    (
        RUN_ID, PURPOSE, DOMAIN, USER_ID, ITEM_ID, USER_NUM, ITEM_NUM,
        Column(c.LABEL, "int", "1 = held-out item, 0 = sampled unseen item; or by domains.NAME.positive_value"),
    ),
    (c.RUN_ID, c.PURPOSE, c.DOMAIN), ("prepare",),
)

TRANSITIONS = Table(
    "transitions", "a model's weight from a history item to a candidate of a domain",
    (c.PURPOSE, c.MODEL, c.DOMAIN, c.ITEM_NUM, c.NEXT_ITEM_NUM),
    (
        RUN_ID, PURPOSE, MODEL,
        Column(c.DOMAIN, "string", "domain of the candidate"), ITEM_NUM,
        Column(c.NEXT_ITEM_NUM, "bigint", "the candidate"),
        Column(c.WEIGHT, "double", "positive"),
    ),
    (c.RUN_ID, c.PURPOSE, c.MODEL), ("fit_baselines",),
)

ITEM_SCORES = Table(
    "item_scores", "a model's score of a candidate, the same for every user",
    (c.PURPOSE, c.MODEL, c.DOMAIN, c.ITEM_NUM),
    (RUN_ID, PURPOSE, MODEL, DOMAIN, ITEM_NUM, Column(c.SCORE, "double", "higher is better")),
    (c.RUN_ID, c.PURPOSE, c.MODEL), ("fit_baselines",),
)

ITEM_FACTORS = Table(
    "item_factors", "a factor model's vector of an item", (c.PURPOSE, c.MODEL, c.ITEM_NUM),
    (RUN_ID, PURPOSE, MODEL, ITEM_NUM, Column(c.VECTOR, "array<float>", "factors")),
    (c.RUN_ID, c.PURPOSE, c.MODEL), ("fit_baselines",),
)

MODELS = Table(
    "models", "a fitted model for a purpose and a domain", (c.PURPOSE, c.MODEL, c.DOMAIN),
    (
        RUN_ID, PURPOSE, MODEL, DOMAIN,
        Column(c.KIND, "string", "how it is scored: item_scores, transitions, factors, neural, blend..."),
        Column("location", "string", "artifact folder relative to the lake"),
        Column("settings", "string", "JSON: the settings it was fitted with, tuned ones included"),
        Column("valid_ndcg", "double", "NDCG@10 on validation where it was tuned or stopped there", nullable=True),
        Column("seconds", "double", "time of the fit"),
    ),
    (c.RUN_ID, c.PURPOSE, c.MODEL), ("fit_baselines", "pretrain", "finetune", "compress", "refresh"),
)

TRAINING_LOG = Table(
    "training_log", "a measure at a step of a training stage", (c.PURPOSE, c.MODEL, "stage", "step", c.METRIC),
    (
        RUN_ID, PURPOSE, MODEL,
        Column("stage", "string", "pretrain, meta_train, distil, compress, or the transfer strategy"),
        Column("epoch", "int", "from 1"), Column("step", "bigint", "optimiser steps so far"),
        Column(c.METRIC, "string", "loss, lr, valid_ndcg, sequences_per_second..."),
        Column("value", "double", "its value"),
    ),
    (c.RUN_ID, c.PURPOSE, c.MODEL), ("pretrain", "meta_train", "finetune", "compress"),
)

META_REPORT = Table(
    "meta_report", "a pair of heads on a domain, for users left with so many events of it",
    (c.DOMAIN, c.MODEL, c.BASELINE, "support", c.METRIC, c.N),
    (
        RUN_ID, DOMAIN, Column(c.MODEL, "string", "the method of meta.method, pooled or fine_tuned"),
        Column(c.BASELINE, "string", "in_context (no head), pooled (one head for all) or fine_tuned (pooled, stepped)"),
        Column("support", "string", "latest events of the domain that each user is left with; whole for all of them"),
        Column(c.METRIC, "string", "ndcg (higher is better) or log_loss (lower is better)"),
        Column(c.N, "int", "length of the list; 0 where a list has no part in it"),
        Column("value", "double", "the model's mean"), Column("baseline_value", "double", "the baseline's mean"),
        Column(c.DIFFERENCE, "double", "mean paired difference"),
        Column(c.CI_LOW, "double", "95 % interval by paired bootstrap over users"),
        Column(c.CI_HIGH, "double", "95 % interval by paired bootstrap over users"),
        Column(c.NUM_USERS, "bigint", "users behind it: validation users that nothing was fitted or stopped by"),
        Column("decision", "string", "on where the head's NDCG on whole histories is above in_context's, else off"),
        Column(c.REASON, "string", "the interval behind the decision"),
    ),
    (c.RUN_ID,), ("meta_train",),
)

TRIALS = Table(
    "trials", "a set of settings tried on validation", ("study", "trial"),
    (
        RUN_ID, Column("study", "string", "what was tuned"), Column("trial", "int", "from 0"),
        Column("settings", "string", "JSON"), Column(c.METRIC, "string", "what was measured"),
        Column("value", "double", "its value"),
    ),
    (c.RUN_ID,), ("fit_baselines", "tune"),
)

RECOMMENDATIONS = Table(
    "recommendations", "a place in a user's list", (c.PURPOSE, c.MODEL, c.DOMAIN, c.USER_ID, c.RANK),
    (
        RUN_ID, Column(c.RUN_DATE, "date", "the night it was made for"), PURPOSE, MODEL, DOMAIN, USER_ID, ITEM_ID,
        Column(c.RANK, "int", "from 1"),
        Column(c.SCORE, "double", "higher is better; comparable within one list only"),
        Column(c.PROBABILITY, "double", "calibrated click probability", nullable=True),
        Column(c.PATH, "string", "own_history, other_domains or popularity: the evidence behind the row"),
    ),
    (c.RUN_ID, c.PURPOSE, c.MODEL, c.DOMAIN), ("score", "serve", "refresh"),
)

SEARCH_REPORT = Table(
    "search_report", "a model's search on a domain that is not exact, against the exact one for a sample of users",
    (c.PURPOSE, c.MODEL, c.DOMAIN),
    (
        RUN_ID, PURPOSE, MODEL, DOMAIN, Column("search", "string", "score.search"),
        Column(c.N, "int", "length of the list"),
        Column("recall", "double", "share of a user's exact list that the search found, mean"),
        Column("worst_recall", "double", "the same of the user with the lowest"),
        Column(c.NUM_USERS, "bigint", "users of the sample"),
    ),
    (c.RUN_ID, c.PURPOSE), ("score", "serve", "refresh"),
)

PAIR_PROBABILITIES = Table(
    "pair_probabilities", "a model's probability of a labelled pair",
    (c.PURPOSE, c.MODEL, c.DOMAIN, c.USER_ID, c.ITEM_ID),
    (
        RUN_ID, PURPOSE, MODEL, DOMAIN, USER_ID, ITEM_ID, Column(c.LABEL, "int", "1 or 0"),
        Column(c.PROBABILITY, "double", "calibrated click probability"),
    ),
    (c.RUN_ID, c.PURPOSE, c.MODEL, c.DOMAIN), ("score",),
)

RELIABILITY = Table(
    "reliability", "a bin of a model's probabilities on the backtest, of equal mass as in click_ece",
    (c.MODEL, c.DOMAIN, "bin"),
    (
        RUN_ID, MODEL, Column(c.DOMAIN, "string", "domain as named in the settings; all for all together"),
        Column("bin", "int", "from 0, the lowest probabilities"),
        Column("lowest", "double", "smallest probability"), Column("highest", "double", "largest probability"),
        Column("mean_probability", "double", "mean over the pairs"),
        Column("click_rate", "double", "positives / pairs: equal to it where the probability is calibrated"),
        Column("positives", "bigint", "pairs with label 1"), Column("pairs", "bigint", "labelled pairs"),
    ),
    (c.RUN_ID,), ("evaluate", "refresh"),
)

USER_METRICS = Table(
    "user_metrics", "a user's measure", (c.PURPOSE, c.MODEL, c.DOMAIN, c.USER_ID, c.SEGMENT, c.METRIC, c.N),
    (
        RUN_ID, PURPOSE, MODEL, DOMAIN, USER_ID, SEGMENT,
        Column(c.METRIC, "string", "see docs/metrics.md"),
        Column(c.N, "int", "length of the list; 0 where a list has no part in it"),
        Column("value", "double", "its value"),
    ),
    (c.RUN_ID, c.PURPOSE, c.MODEL), ("evaluate",),
)

METRICS = Table(
    "metrics", "a measure of a model on the backtest", (c.MODEL, c.DOMAIN, c.SEGMENT, c.METRIC, c.N),
    (
        RUN_ID, MODEL, Column(c.DOMAIN, "string", "domain as named in the settings; all for all together (clicks)"),
        SEGMENT, Column(c.METRIC, "string", "see docs/metrics.md"),
        Column(c.N, "int", "length of the list; 0 where a list has no part in it"),
        Column("value", "double", "its value", nullable=True),
        Column(c.CI_LOW, "double", "95 % interval by bootstrap over users", nullable=True),
        Column(c.CI_HIGH, "double", "95 % interval by bootstrap over users", nullable=True),
        Column(c.NUM_USERS, "bigint", "users behind it"),
    ),
    (c.RUN_ID,), ("evaluate", "refresh"),
)

TRANSFER_REPORT = Table(
    "transfer_report", "a pair of models on a domain and segment",
    (c.PURPOSE, c.DOMAIN, c.SEGMENT, c.MODEL, c.BASELINE, c.METRIC, c.N),
    (
        RUN_ID, PURPOSE, DOMAIN, SEGMENT, MODEL,
        Column(c.BASELINE, "string", "the model it is held against"),
        Column(c.METRIC, "string", "see docs/metrics.md"), Column(c.N, "int", "length of the list"),
        Column("value", "double", "the model's mean"), Column("baseline_value", "double", "the baseline's mean"),
        Column(c.DIFFERENCE, "double", "mean paired difference"),
        Column(c.CI_LOW, "double", "95 % interval by paired bootstrap over users"),
        Column(c.CI_HIGH, "double", "95 % interval by paired bootstrap over users"),
        Column(c.NUM_USERS, "bigint", "users behind it"),
        Column("decision", "string", "the model the guard serves these users of the domain, chosen on validation"),
        Column(c.REASON, "string", "why the guard chose it"),
    ),
    (c.RUN_ID,), ("evaluate", "refresh"),
)

RUNS = Table(
    "runs", "a step of a run", ("step",),
    (
        RUN_ID, Column("step", "string", "name of the step"),
        Column("state", "string", "running, done or failed"),
        Column(c.RUN_DATE, "date", "the night it was made for"),
        Column("config_hash", "string", "sha256 of the settings"),
        Column("config", "string", "JSON: the settings of the run"),
        Column("inputs", "string", "JSON: the files and tables it read, with sizes"),
        Column("versions", "string", "JSON: the software it ran on"),
        Column("row_counts", "string", "JSON: rows read and written"),
        Column("started_at", "timestamp", "UTC"),
        Column("seconds", "double", "wall time", nullable=True),
        Column("peak_memory_mib", "double", "sum over the processes of the run", nullable=True),
        Column("message", "string", "what went wrong, in one line", nullable=True),
    ),
    (c.RUN_ID,), ("every job",),
)

PUBLICATIONS = Table(
    "publications", "a publication; the latest one is what readers see", ("published_at",),
    (
        RUN_ID, Column("published_at", "timestamp", "UTC"),
        Column("kind", "string", "publish or rollback"),
        Column("lake_version", "int", "version of the tables' declaration"),
    ),
    (), ("publish",),
)

ALL_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        INTERACTIONS, REJECTS, DATA_QUALITY, USER_FINGERPRINTS, LOG_FILES, AWAITED_EVENTS, RUN_PARTS, USER_IDS,
        ITEM_IDS, LABEL_IDS, SPLIT_INTERACTIONS, HISTORIES, USER_LIKES, SEQUENCES, EARLIER_SEQUENCES,
        VALIDATION_SEQUENCES, USER_PROFILES,
        ITEM_FEATURES, ITEM_POPULARITY, ITEM_LIKES, ITEM_VECTORS, TEXT_VECTORS, ATTRIBUTE_IDS, ITEM_ATTRIBUTES,
        FEATURE_STATISTICS, TRUTH, LABELLED_PAIRS, TRANSITIONS, ITEM_SCORES, ITEM_FACTORS, MODELS, TRAINING_LOG,
        META_REPORT, TRIALS, RECOMMENDATIONS, SEARCH_REPORT, PAIR_PROBABILITIES, RELIABILITY, USER_METRICS,
        METRICS, TRANSFER_REPORT, RUNS, PUBLICATIONS,
    )
}

# fmt: on


def names_of(tables: Iterable[Table]) -> list[str]:
    """The tables' names, in order."""
    return [table.name for table in tables]
