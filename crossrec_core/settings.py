"""The settings: one frozen dataclass per stage. conf/default.toml holds every default.

Each field's ``doc`` is its entry in docs/settings.md. Functions receive plain values, never these objects; only jobs
unpack them.
"""

from dataclasses import dataclass, field
from typing import Any

from crossrec_core import columns as c

EVERY_VALUE = -1e300  # a threshold below every value: off


def setting(doc: str, *, choices: tuple[str, ...] = (), low: float | None = None, high: float | None = None) -> Any:
    """A field that ``crossrec_core.config`` checks and the reference describes."""
    return field(metadata={"doc": doc, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class LakeSettings:
    path: str = setting("Folder or URL of the lake: a local path, file://, s3a://, abfss://, gs://, hdfs://.")
    keep_runs: int = setting("Published runs to keep; older ones are deleted by publish.", low=1)
    storage_options: dict[str, str] = setting("Options deltalake needs to reach the lake (keys, endpoints).")


@dataclass(frozen=True, kw_only=True)
class SparkSettings:
    master: str = setting("Spark master for `python jobs/...`; empty leaves it to spark-submit.")
    driver_memory: str = setting("Heap of the driver's JVM; in local mode the only heap.")
    shuffle_partitions: int = setting("Partitions of a shuffle before adaptive execution merges them.", low=1)
    options: dict[str, str] = setting(
        "Any further Spark option, by its full name. Where all logs are here and small the driver's JVM starts with "
        "its first compiler alone; `-XX:TieredStopAtLevel=4` in `spark.driver.extraJavaOptions` undoes that."
    )


@dataclass(frozen=True, kw_only=True)
class CatalogueSettings:
    path: str = setting("File, folder or glob of the item catalogue; empty for none.")
    format: str = setting("How the catalogue is stored.", choices=("csv", "tsv", "jsonl", "parquet", "table"))
    item_id: str = setting("Column of the item id.")
    title: str = setting("Column shown to people; empty for none.")
    text: list[str] = setting("Columns joined into the text for the encoders.")
    categories: str = setting("Column of categories; empty for none.")
    separator: str = setting("What separates values in multi-valued text columns; empty for any white space.")
    numerics: list[str] = setting("Numeric attribute columns.")
    labels: list[str] = setting("Multi-valued attribute columns.")
    vectors: str = setting("Parquet of the items' own vectors for text.encoder = parquet: item id column and vector.")
    domain_column: str = setting("Column that names the row's domain; empty when the file holds one domain.")


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    like: str = setting("Domain whose block this one starts from; empty for conf/default.toml's [domain].")
    path: str = setting("File, folder or glob of the log, or a warehouse table's name.")
    format: str = setting("How the log is stored.", choices=("csv", "tsv", "jsonl", "parquet", "table"))
    user_id: str = setting("Column of the user id.")
    item_id: str = setting("Column of the item id.")
    event_time: str = setting("Column of the time, or of the position for order-only logs.")
    time_unit: str = setting("What the time column holds.", choices=("s", "ms", "us", "iso", "order"))
    action: str = setting("Column of the event type; empty when every row is of one type.")
    default_action: str = setting("Event type of rows without one.")
    value: str = setting("Column of a number per event (rating, price, seconds watched); empty for none.")
    events: dict[str, float] = setting("Event types and their weights; any other type is rejected.")
    domain_column: str = setting("Column that names the row's domain; empty when the log holds one domain.")
    domain_value: str = setting("What that column holds for this domain; empty for the block's name.")
    user_space: str = setting("Domains of one user space share user ids.")
    item_space: str = setting("Domains of one item space share item ids; empty: the items are this domain's own.")
    exclude_seen: bool = setting("Never recommend what the user already has (false for groceries or news).")
    value_low: float = setting("Rows with a value below are rejected.")
    value_high: float = setting("Rows with a value above are rejected.")
    positive_value: float = setting(
        "Held-out items with a value from here on are clicks, the others are not, instead of sampled negatives; "
        "-1e300 samples."
    )
    like_strength: float = setting(
        "Where positive_value labels: events of the domain's share of likes that an item's or a user's own share is "
        "mixed with.", low=0.01,
    )  # fmt: skip
    catalogue: CatalogueSettings = setting("The item catalogue of the domain.")


@dataclass(frozen=True, kw_only=True)
class RolesSettings:
    targets: list[str] = setting("Domains that get lists; empty for all.")
    sources: list[str] = setting("Domains that lend knowledge; empty for all (a target never lends to itself).")


@dataclass(frozen=True, kw_only=True)
class CleanSettings:
    drop_duplicates: bool = setting("Reject exact repeats of user, item, action and time.")
    repeat_within_s: int = setting("Reject repeats of user, item and action within these seconds; 0 keeps them.", low=0)
    oldest_event: str = setting("ISO date; earlier events are rejected.")
    newest_event: str = setting("ISO date; later events are rejected; empty for the run's date.")
    max_events_per_day: int = setting("Users above it on any day are bots: all their events go; 0 is off.", low=0)
    max_events_per_minute: int = setting("Events past this many of a user in one minute are a burst; 0 is off.", low=0)


@dataclass(frozen=True, kw_only=True)
class NormaliseSettings:
    fill: str = setting("Missing numerics.", choices=("mean", "median", "mode", "drop", "none"))
    outliers: str = setting("How bounds are fitted; values beyond are clipped.", choices=("none", "quantile", "iqr"))
    low_quantile: float = setting("Lower bound for outliers = quantile.", low=0, high=1)
    high_quantile: float = setting("Upper bound for outliers = quantile.", low=0, high=1)
    iqr_factor: float = setting("Bounds for outliers = iqr: this many interquartile ranges.", low=0)
    scaling: str = setting("How numerics are scaled.", choices=("none", "standard", "minmax", "log1p_standard"))
    pca_dimensions: int = setting("Principal components kept of an item's numeric block; 0 is off.", low=0)
    min_user_events: int = setting("k-core: users with fewer training events leave training; 0 is off.", low=0)
    min_item_events: int = setting("k-core: items with fewer training events leave training; 0 is off.", low=0)
    core_rounds: int = setting("Rounds of the k-core at most.", low=1)


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    protocol: str = setting("time: cut by days. leave_one_out: last item tests.", choices=("time", "leave_one_out"))
    leave_out: str = setting(
        "leave_one_out takes a user's last event per domain, or one over all domains.", choices=("domain", "user")
    )
    test_days: float = setting("Days at the end of a log that test; 0 for no test: only lists to serve.", low=0)
    valid_days: float = setting("Days before them that validate.", low=0)
    cut: str = setting("ISO date of the test's first day; empty: test_days before each clock's last event.")
    per_domain: bool = setting("Cut each domain at its own last event (platforms without a common time).")
    seed: int = setting("Seed of the hash that breaks ties in time.")
    negatives_per_positive: int = setting("Unseen items sampled per held-out item for the click metrics.", low=1)
    max_judged_users: int = setting("Users per domain, by hash, that validation compares models on.", low=1)
    max_validation_users: int = setting("Of those, users that training stops by and blends learn from.", low=1)


@dataclass(frozen=True, kw_only=True)
class SequencesSettings:
    max_len: int = setting("Latest events kept of a user.", low=2)
    earlier_parts: int = setting("Stretches of max_len events before the latest that training reads too.", low=0)
    session_gap_minutes: float = setting("A longer pause starts a session.", low=0)
    interest_half_life_days: float = setting("Half-life of events in the interest profile.", low=0)
    head_share: float = setting("Share of events that the head items hold.", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    encoder: str = setting(
        "lsa: TF-IDF and SVD. bert: a sentence encoder. parquet: catalogue.vectors.", choices=("lsa", "bert", "parquet")
    )
    dimensions: int = setting("Width of the whitened text vectors; 0 is off.", low=0)
    num_buckets: int = setting("lsa: hash buckets of the TF-IDF.", low=16)
    svd_dimensions: int = setting("lsa: width of the SVD, of which whitening keeps text.dimensions.", low=1)
    min_document_count: int = setting("lsa: training items a term must occur in.", low=1)
    max_fit_items: int = setting("Training items that lsa and whitening are fitted on at most, drawn by hash.", low=100)
    model: str = setting("bert: folder or hub name; empty for the MiniLM that crossrec[bert] installs.")
    max_tokens: int = setting("bert: longer texts are cut to this many tokens.", low=4)
    batch_size: int = setting("bert: texts of like length that are encoded together.", low=1)
    rec_pca_gamma: float = setting(
        "Rec-PCA: how much directions count less in which items that follow each other differ; 0 is off.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class AttributesSettings:
    max_per_item: int = setting("Attribute values of an item that the models read at most; 0 is off.", low=0)
    min_items: int = setting("Training items that must have a value.", low=1)
    number_buckets: int = setting("Buckets of equal frequency that a numeric attribute falls into.", low=2)


@dataclass(frozen=True, kw_only=True)
class BaselinesSettings:
    models: list[str] = setting(
        "Which of popularity, decayed_popularity, item_knn, markov, als, ials, cmf, emcdr, ease, slist, text_knn."
    )
    half_life_days: list[float] = setting("Half-lives tried for decayed popularity (events for order-only logs).")
    knn_shrink: list[float] = setting("Shrinkages tried for item_knn: added to the denominator of the cosine.")
    window: int = setting("Events ahead that a pair may span.", low=1)
    pair_decay: list[float] = setting("Weights tried per step of distance inside a pair (dt).")
    backward: list[float] = setting("Weights tried for the backward direction.")
    alpha: list[float] = setting("Exponents tried: pair weight / (n_i^alpha * n_j^(1-alpha)).")
    history_decay: list[float] = setting("Weights tried per step of age of a history item (g).")
    history_half_life_days: list[float] = setting("Half-lives tried of a history item by its time; 0 is off.")
    cross_domain: list[float] = setting("Weights tried for pairs that cross domains.")
    popularity_share: list[float] = setting("Shares tried of decayed popularity mixed into markov.")
    max_neighbours: int = setting("Strongest next items kept per item.", low=1)
    max_history: int = setting("Latest events of a user that make pairs.", low=2)
    als_rank: int = setting("Factors of ALS (als, ials, cmf, emcdr).", low=1)
    als_iterations: int = setting("Sweeps of ALS.", low=1)
    als_regularisation: list[float] = setting("Regularisations tried for ALS.")
    als_alpha: list[float] = setting("Confidences tried for ALS: 1 + alpha * weight.")
    cmf_source_weight: list[float] = setting("Weights tried in cmf for the events of other domains.")
    emcdr_regularisation: list[float] = setting("Regularisations tried for the map of emcdr.")
    dense_items: int = setting(
        "Items that ease and slist model at most, those with most events: 12 bytes a pair.", low=1
    )
    ease_regularisation: list[float] = setting("Regularisations tried for ease.")
    slist_regularisation: list[float] = setting("Regularisations tried for slist.")
    slist_decay: list[float] = setting("Weights tried in slist per step of age of a past item.")
    slist_half_life_days: list[float] = setting("Half-lives tried in slist of a past item by its time; 0 is off.")
    slist_whole_share: list[float] = setting("Shares tried in slist of the whole sequence, the rest is the next item.")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    encoder: str = setting(
        "Sequence encoder: causal or masked transformer, recurrent cells, or HSTU for long histories.",
        choices=("gpt", "bert", "lstm", "gru", "hstu"),
    )
    width: int = setting("Width of the vectors.", low=4)
    layers: int = setting("Blocks of the encoder.", low=1)
    heads: int = setting("Attention heads; divides the width.", low=1)
    dropout: float = setting("Dropout.", low=0, high=0.95)
    normalise_inputs: str = setting(
        "Bring item vectors to a mean square of one on their way into the encoder (not out of it, where they meet the "
        "queries), so that what the blocks add does not drown which items were seen. auto: where no item has a text, "
        "whose vectors are long enough from the start.",
        choices=("auto", "always", "never"),
    )
    relative_bias: str = setting(
        "Attention bias by log2 of the seconds between events, by distance, or both.",
        choices=("none", "position", "time", "time_and_position"),
    )
    adapter_rank: int = setting("Rank of the low-rank adapters per target domain; 0 is off.", low=0)
    mask_share: float = setting("bert: share of the events hidden in training.", low=0, high=1)
    mask_last_share: float = setting("bert: share of the rows in which only the last is hidden.", low=0, high=1)
    id_dropout: float = setting("Share of items per batch whose id embedding is hidden: text learns.", low=0, high=1)
    full_softmax_items: int = setting("Domains up to this many candidates train on the full softmax.", low=0)
    num_negatives: int = setting("Shared negatives per domain above that.", low=1)
    log_q: bool = setting(
        "Correct the softmax over negatives for how likely each was to be drawn, so that its denominator is without "
        "bias that of all candidates; false takes uniform negatives as they are, as distillation does."
    )
    negatives_power: float = setting(
        "With log_q: negatives are drawn by their share of the events to this power; 1 by popularity, 0 all alike.",
        low=0, high=1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    max_epochs: int = setting("Epochs at most; 0 skips the stage.", low=0)
    patience: int = setting("Epochs without a better validation NDCG@10 before it stops.", low=1)
    batch_size: int = setting("Sequences per optimiser step, at most.", low=1)
    min_steps: int = setting(
        "Where an epoch has fewer steps, its batches are halved until it has as many, but not below 32 sequences; 0 "
        "takes batch_size as it is.",
        low=0,
    )
    learning_rate: float = setting("Peak learning rate of AdamW.", low=0)
    weight_decay: float = setting("Weight decay of AdamW.", low=0)
    warmup_share: float = setting("Share of the steps that warm up; the schedule follows.", low=0, high=1)
    schedule: str = setting(
        "Learning rate after the warm-up; cosine and linear fall to a tenth.", choices=("cosine", "linear", "constant")
    )
    clip_norm: float = setting("Gradients are clipped to this norm.", low=0)
    label_smoothing: float = setting("Share of the target's probability spread over all candidates.", low=0, high=0.9)
    ema_decay: float = setting("Decay of the average of the weights that is judged and kept; 0 is off.", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    crop_share: float = setting("Share of the rows cut to a random piece.", low=0, high=1)
    crop_length: float = setting("Share of its events that a piece keeps.", low=0, high=1)
    mask_share: float = setting("Share of the events left out.", low=0, high=1)
    reorder_share: float = setting("Share of the rows in which a window of events is shuffled.", low=0, high=1)
    reorder_window: int = setting("Events of that window.", low=2)
    shuffle_ties: bool = setting(
        "Events of one moment change places, anew in every epoch: a hash has ordered them. Of a day, where a log knows "
        "days only."
    )
    shuffle_within_bucket: int = setting(
        "Events this close to the one before change places; log2 of seconds: 1 the same moment, 17 a day; 0 is off.",
        low=0, high=31,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    seed: int = setting("Seed of weights, order and dropout.")
    purposes: list[str] = setting(
        "What the steps from pretrain to score fit. backtest alone keeps what the run has chosen on validation.",
        choices=("validate", "backtest"),
    )
    device: str = setting("auto takes a GPU where there is one.", choices=("auto", "cpu", "cuda"))
    threads: int = setting("Torch threads on the CPU; 0 for one per core.", low=0)
    bf16: bool = setting(
        "bfloat16 autocast on a GPU or CPU that multiplies it faster than float32; weights stay float32."
    )
    num_processes: int = setting("Processes that pretrain one model together, each with its share of a batch.", low=1)
    parallel_fits: int = setting(
        "Models that finetune trains at once, each in a process with its share of the threads; 0 for one per core as "
        "far as memory goes, and for one at a time on a GPU.",
        low=0,
    )
    reader_threads: int = setting("Threads that read Parquet.", low=1)
    refit_for_backtest: bool = setting("Refit on train + validation, for the epochs found, before the test is read.")
    refit_for_serve: bool = setting("Refit the guard's winner on everything before lists are served.")
    domain_temperature: float = setting("Domains train with weight n^temperature.", low=0, high=1)
    event_half_life_days: float = setting(
        "Half-life of an event as something to predict, by its age at the domain's latest known one; 0 counts all "
        "alike. For split.protocol = time and domains with times; not for bert.",
        low=0,
    )
    text_reconstruction: float = setting("Weight of the loss that rebuilds text from item vectors; 0 is off.", low=0)
    text_alignment: float = setting("Weight of the loss that pulls an item's id to its text; 0 is off.", low=0)
    transfer: list[str] = setting(
        "Strategies tried on each target; the best on validation becomes `transferred`. target_only is the control.",
        choices=c.STRATEGIES,
    )
    layer_decay: float = setting("parameter: a block learns at this share of the rate of the one above.", low=0, high=1)
    source_pull: float = setting("parameter: strength of the pull to the source's weights (L2-SP).", low=0)
    joint_share: float = setting("joint: the target's share of the loss at the start; it grows to 1.", low=0, high=1)
    temperature: float = setting("What the logits are divided by in the loss.", low=0.01)
    augment: AugmentSettings = setting("Changed copies of the training rows, in every stage; all off.")
    pretrain: FitSettings = setting("Stage 1: all domains.")
    finetune: FitSettings = setting("Stage 2: each strategy on its target.")
    target_only: FitSettings = setting("The control: the target's events alone, from scratch.")


@dataclass(frozen=True, kw_only=True)
class BlendSettings:
    models: list[str] = setting(
        "Models blended into crossrec; those that were not fitted are left out; [] is off. The model adapted joins by "
        "itself where the head of meta is on."
    )
    half_lives_days: list[float] = setting("Half-lives of the popularities blended in (events for order-only logs).")
    pool: int = setting("Best candidates of each source that the blend is fitted on.", low=10)
    l2: float = setting("Penalty on the weights: what keeps them small, and alike for all users.", low=0)
    per_user: bool = setting("Whether weights depend on a user's history; if not, all users share them.")
    signs: str = setting(
        "positive: weights that cannot be negative; free; auto: positive where split.protocol is time: the window that "
        "teaches is not the one that follows.",
        choices=("auto", "free", "positive"),
    )  # fmt: skip
    min_users: int = setting("Validation users with a hit in the pool that a blend needs.", low=1)
    stacked_baselines: list[str] = setting(
        "Baselines stacked by logistic regression, a control for the click probability that makes no lists; [] is off."
    )
    cold_models: list[str] = setting(
        "Models blended in besides where there are cold candidates (score.candidates = listed); those not fitted are "
        "left out."
    )  # fmt: skip
    cold_share: float = setting(
        "Share of the touched candidates that are treated as cold to fit the weights of cold ones; 0 is off.",
        low=0, high=0.5,
    )  # fmt: skip
    cold_cost: float = setting(
        "Share of the hits in the first ten places, some items treated as cold, given up to list more cold ones.",
        low=0, high=1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CompressSettings:
    mode: str = setting(
        "What jobs/compress.py makes of a run's neural models, beside them: int8 copies, or narrower students.",
        choices=("none", "int8", "distilled"),
    )  # fmt: skip
    width: int = setting("Width of a distilled student; model.heads divides it.", low=4)
    distil_top: int = setting("Best candidates of the teacher that the student imitates.", low=2)
    distil_temperature: float = setting("Softens teacher and student.", low=0.1)
    distil_alpha: float = setting("Weight of the teacher; the rest is the next item's.", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    model: str = setting(
        "What jobs/tune.py tunes; transferred starts from pretrained as the settings say.",
        choices=("pretrained", "transferred", "target_only"),
    )  # fmt: skip
    domains: list[str] = setting("Domains whose mean validation NDCG@10 counts; empty for all targets.")
    space: str = setting("Search space (TOML); empty for conf/search_spaces/MODEL.toml.")
    folds: int = setting("Blocks of time that judge: the validation window and these less one before it.", low=1)
    trials: int = setting("Trials at most, those of earlier calls for the same run included.", low=1)
    minutes: float = setting("Minutes at most; what runs then ends with its epoch.", low=0)
    jobs: int = setting("Trials at once, each in a process of its own.", low=1)
    pruner: str = setting("What ends poor trials early.", choices=("median", "hyperband", "none"))
    seed: int = setting("Seed of the sampler.")


@dataclass(frozen=True, kw_only=True)
class MetaSettings:
    method: str = setting(
        "The head that a few events adapt; none skips the step.",
        choices=("none", "bayes", "maml", "fomaml", "anil", "reptile", "prototypes", "neural_process"),
    )
    support_sizes: list[int] = setting("Support events of a task, drawn alike; the largest stands for all above.")
    num_query: int = setting("Query events of a task at most.", low=1)
    num_negatives: int = setting(
        "Negatives per event: a query's from what the head ranks anew, the support's half uniform, half by popularity.",
        low=1,
    )
    max_epochs: int = setting("Epochs at most; the best on validation is kept.", low=1)
    batch_size: int = setting("Users per step; each makes a task per domain of its own.", low=1)
    learning_rate: float = setting("Learning rate of AdamW.", low=0)
    width: int = setting("Features of a head.", low=3)
    hidden: int = setting("Hidden units of the networks inside a head.", low=1)
    inner_steps: int = setting("Gradient steps on a task's support (maml, fomaml, anil, reptile).", low=1)
    inner_lr: float = setting("Learning rate of those steps.", low=0)
    num_ranked: int = setting("Candidates of the in-context model that a head ranks anew.", low=1)


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    n: int = setting("Length of the lists.", low=1)
    candidates: str = setting(
        "seen: items of the domain's known events. listed: its catalogue too.", choices=("seen", "listed")
    )
    recency_half_life_days: float = setting(
        "Half-life of the popularity that fills lists (events for order-only logs).", low=1e-3
    )
    batch_users: int = setting("Users per scored batch.", low=1)
    block_items: int = setting("A worker holds at most batch_users times so many scores at once.", low=1)
    search: str = setting(
        "exact scores every candidate. compressed multiplies in eight bits and scores the best anew, for models whose "
        "scores are products of vectors (neural ones, factors, texts; no blend). approximate looks into the nearest "
        "cells of an index (pip install 'crossrec[faiss]') in domains of cells_from candidates or more, and is "
        "compressed elsewhere. search_report says what either loses.",
        choices=("exact", "compressed", "approximate"),
    )
    oversample: float = setting("compressed, approximate: candidates that are scored anew, as a multiple of n.", low=1)
    recall_users: int = setting("compressed, approximate: users whose lists are held against exact ones.", low=1)
    cells_from: int = setting("approximate: candidates of a domain from which it gets an index.", low=1)
    num_probes: int = setting("approximate: cells that a user's search looks into.", low=1)
    shard_mib: int = setting(
        "Item vectors of a model that a worker maps at a time, MiB; 0 for an eighth of the driver machine's memory, "
        "shared out among its workers.",
        low=0,
    )
    threads_per_worker: int = setting("Torch threads of a Python worker; 0 for its share of the cores.", low=0)
    serve_models: str = setting(
        "guard: the winner per domain and segment. all: every model's lists.", choices=("guard", "all")
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    n: list[int] = setting("List lengths of the ranking metrics.")
    bootstrap_samples: int = setting("Resamples behind an interval.", low=10)
    bootstrap_buckets: int = setting("Hash buckets of users that are resampled.", low=10)
    seed: int = setting("Seed of the resampling.")
    guard_metric: str = setting(
        "What the guard compares on validation.", choices=("ndcg", "recall", "hr", "map", "mrr")
    )
    guard_n: int = setting("List length of the guard's metric.", low=1)
    guard_min_users: int = setting(
        "Validation users that a segment needs for a decision of its own; with fewer the domain's holds.", low=1
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a run."""

    lake: LakeSettings = setting("Where results live.")
    spark: SparkSettings = setting("How Spark runs.")
    domains: dict[str, DomainSettings] = setting("One block per domain.")
    roles: RolesSettings = setting("Sources and targets.")
    clean: CleanSettings = setting("Fixed rules for raw rows.")
    split: SplitSettings = setting("What is held out.")
    normalise: NormaliseSettings = setting("What is fitted on training rows.")
    sequences: SequencesSettings = setting("Sequences, sessions and interests.")
    text: TextSettings = setting("Item texts to vectors.")
    attributes: AttributesSettings = setting("Categories, labels and numbers of items in the item vector.")
    baselines: BaselinesSettings = setting("Traditional systems; a list is tried on validation.")
    model: ModelSettings = setting("The neural model.")
    train: TrainSettings = setting("How it is trained.")
    blend: BlendSettings = setting("The model crossrec: all sources of evidence, weighed per user.")
    compress: CompressSettings = setting("Smaller copies of the neural models.")
    tune: TuneSettings = setting("The search for better settings; changes no result of a night.")
    meta: MetaSettings = setting("Heads that a few events adapt.")
    score: ScoreSettings = setting("Lists.")
    evaluate: EvaluateSettings = setting("Metrics and intervals.")

    @property
    def targets(self) -> list[str]:
        """Domains that get lists, sorted."""
        return sorted(self.roles.targets or self.domains)

    @property
    def sources(self) -> list[str]:
        """Domains that lend knowledge, sorted."""
        return sorted(self.roles.sources or self.domains)

    @property
    def reads_texts(self) -> bool:
        """Whether a domain's catalogue gives its items texts, or vectors of the user's own."""
        catalogues = [domain.catalogue for domain in self.domains.values()]
        if self.text.encoder == "parquet":
            return self.text.dimensions > 0 and any(each.vectors for each in catalogues)
        return self.text.dimensions > 0 and any(each.path and (each.text or each.title) for each in catalogues)

    @property
    def normalises_inputs(self) -> bool:
        """What ``model.normalise_inputs`` comes to: the settings decide, so that no night's data changes the model."""
        choice = self.model.normalise_inputs
        return choice == "always" or (choice == "auto" and not self.reads_texts)

    def sampled_negatives(self, domain: str) -> int:
        """Unseen items sampled per held-out item of a domain; 0 where values say what is a click."""
        return 0 if self.domains[domain].positive_value > EVERY_VALUE else self.split.negatives_per_positive

    def item_space(self, domain: str) -> str:
        """The item space of a domain: its own name unless the settings share it."""
        return self.domains[domain].item_space or domain
