"""The models of conf/model, parted by what fits them."""

import yaml

from studperf.config.code.grown import is_grown
from studperf.config.paths import config_dir

_NODES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((config_dir() / "model").glob("*.yaml"))
}
GROWN = [name for name, node in _NODES.items() if is_grown(node)]
NETWORKS = [name for name in _NODES if name not in GROWN]
