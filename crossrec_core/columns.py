"""The column names, once."""

# Names from outside
USER_ID = "user_id"
ITEM_ID = "item_id"
USER_SPACE = "user_space"
ITEM_SPACE = "item_space"
DOMAIN = "domain"
ACTION = "action"
VALUE = "value"
TITLE = "title"
TEXT = "text"
CATEGORIES = "categories"
NUMERICS = "numerics"
LABELS = "labels"

# Dense numbers: from 1, 0 is padding
USER_NUM = "user_num"
ITEM_NUM = "item_num"
NEXT_ITEM_NUM = "next_item_num"
KIND = "kind"
LABEL_NAME = "label_name"
LABEL_NUM = "label_num"
ACTION_NUM = "action_num"

# Events
EVENT_TIME = "event_time"
EVENT_ORDER = "event_order"
TIE_BREAK = "tie_break"
WEIGHT = "weight"
RECENT_WEIGHT = "recent_weight"
TREND_WEIGHTS = "trend_weights"
SPLIT = "split"
CLOCK = "clock"
PART = "part"

# Rejects
REASON = "reason"
SOURCE_FILE = "source_file"
RAW_TEXT = "raw_text"

# Histories and sequences
ITEM_NUMS = "item_nums"
DOMAIN_NUMS = "domain_nums"
ACTION_NUMS = "action_nums"
GAP_BUCKETS = "gap_buckets"
SESSION_STARTS = "session_starts"
EVENT_ORDERS = "event_orders"
LENGTH = "length"
NUM_EVENTS = "num_events"
NUM_USERS = "num_users"
NUM_RATED, NUM_LIKES = "num_rated", "num_likes"
LAST_EVENT_ORDER = "last_event_order"
TARGET_DOMAIN_NUM = "target_domain_num"
TRUTH_NUMS = "truth_nums"
CATEGORY = "category"
SHARE = "share"
IS_HEAD = "is_head"

# Truth and pairs
SEGMENT = "segment"
IS_KNOWN_ITEM = "is_known_item"
LABEL = "label"

# Vectors and pair weights
ENCODER = "encoder"
VECTOR = "vector"
TEXT_HASH = "text_hash"
ATTRIBUTE_NUM = "attribute_num"
ATTRIBUTE_NUMS = "attribute_nums"
WEIGHTS = "weights"
NUM_ITEMS = "num_items"

# Runs, models, results
RUN_ID = "run_id"
RUN_DATE = "run_date"
PURPOSE = "purpose"
MODEL = "model"
RANK = "rank"
SCORE = "score"
PROBABILITY = "probability"
PATH = "path"
METRIC = "metric"
N = "n"
CI_LOW = "ci_low"
CI_HIGH = "ci_high"
BASELINE = "baseline"
DIFFERENCE = "difference"

# What a refreshed run is made of
FINGERPRINT = "fingerprint"
ROW_HASH = "row_hash"
NUM_ROWS = "num_rows"
PART_RUN_ID = "part_run_id"
PLACE = "place"

# Splits of events, and what each purpose may know of them
TRAIN, VALID, TEST = "train", "valid", "test"
OUT_OF_CORE = "out_of_core"  # before validation, of a user or item too thin to learn from: masks lists, trains nothing
VALIDATE, BACKTEST, SERVE = "validate", "backtest", "serve"
KNOWN_SPLITS = {VALIDATE: (TRAIN,), BACKTEST: (TRAIN, VALID), SERVE: (TRAIN, VALID, TEST)}
TRUTH_SPLIT = {VALIDATE: VALID, BACKTEST: TEST}

# Segments of users (by what was known of them before the cut) and of truth items
ALL, WARM, COLD_IN_DOMAIN, NEW = "all", "warm", "cold_in_domain", "new"
USER_SEGMENTS = (WARM, COLD_IN_DOMAIN, NEW)
HEAD_ITEMS, TAIL_ITEMS, KNOWN_ITEMS, COLD_ITEMS = "head_items", "tail_items", "known_items", "cold_items"

# The full system: all sources of evidence, blended
CROSSREC = "crossrec"
# Its control for the click probability: what the baselines' scores alone can say
STACKED_BASELINES = "stacked_baselines"
# Neural models by name: what is trained on all sources, what starts from it, what never saw another domain
PRETRAINED, TRANSFERRED, TARGET_ONLY = "pretrained", "transferred", "target_only"
# The pretrained model with a head that a user's few events adapt, where that is ahead of it
ADAPTED, META = "adapted", "meta"
ALL_DOMAINS = "all"  # the domain of what belongs to no single one
# Ways to make a transferred model, from the one that changes the pretrained model least; then the control
ZERO_SHOT, ADAPTER, FEATURE, PARAMETER, JOINT = "zero_shot", "adapter", "feature", "parameter", "joint"
STRATEGIES = (ZERO_SHOT, ADAPTER, FEATURE, PARAMETER, JOINT, TARGET_ONLY)

# Which evidence made a recommended row
OWN_HISTORY, OTHER_DOMAINS, POPULARITY = "own_history", "other_domains", "popularity"

# The reserved user id that carries a domain's list for users nobody has seen
NEW_USER_ID = "__new__"

# What scoring passes between the rooms: the user frame's columns per domain number, and the scored rows
SEEN, WANTED, PAIR_ITEM_NUMS, PAIR_LABELS = "seen", "wanted", "pair_item_nums", "pair_labels"
LIKE_COUNTS = (NUM_LIKES, NUM_RATED)
SEGMENT_CODE = "segment_code"  # a place in USER_SEGMENTS
MODEL_INDEX = "model_index"
DOMAIN_NUM = "domain_num"
PATH_CODE = "path_code"
NUM_LISTED, NUM_FOUND = "num_listed", "num_found"
PATHS = (OWN_HISTORY, OTHER_DOMAINS, POPULARITY)  # by path_code


def of_domain(name: str, domain_num: int) -> str:
    """The user frame's column ``name`` of one domain, e.g. seen_2."""
    return f"{name}_{domain_num}"
