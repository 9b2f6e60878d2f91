"""Plants faults in a copy of the code, one at a time, and demands that the tests notice each.

    python .ci/mutants.py [NAME ...]

Each fault is one that has cost somebody a result: a leak left in, an encoder that saw the test rows, the last weights scored instead of the best.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """A replacement in one file, and the tests that must fail for it."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant("encoder fitted before the split", "data/rows.py", "train = self.split.train\n        # Sums", "train = np.arange(len(self))\n        # Sums", "tests/train/test_run.py -k encoder"),
    Mutant("large table's encoder sees all rows", "data/rows.py", "train = np.sort(train)", "train = np.arange(len(self))", "tests/data/large/test_stream.py -k good"),
    Mutant("last weights scored, not the best", "train/best.py", "torch.load(folder / BEST,", "torch.load(folder / LAST,", "tests/train/test_run.py -k best_epoch"),
    Mutant(
        "leaks left in",
        "data/guard/leaks.py",
        "refused = [leak for leak in leaks if leak.is_refused and not allowed & set(leak.columns)]",
        "refused = []",
        "tests/train/test_run.py -k leak",
    ),
    Mutant(
        "reverse test off",
        "data/guard/evidence.py",
        "    if score < needed:\n        return None\n",
        "    if score < needed + 1:\n        return None\n",
        "tests/data/guard/test_leaks.py",
    ),
    Mutant(
        "target not unscaled",
        "train/network/module.py",
        "return y * self.target_std + self.target_mean",
        "return y",
        "tests/train/test_run.py -k belong",
    ),
    Mutant(
        "predictions shuffled",
        "judge/judge.py",
        "return np.concatenate(blocks)",
        "return np.concatenate(blocks)[::-1].copy()",
        "tests/train/test_run.py -k belong",
    ),
    Mutant("best and worst swapped", "config/run.py", 'if self.metric == "val/r2" else', 'if self.metric != "val/r2" else', "tests/train/test_run.py -k record_holds"),
    Mutant("pairs torn apart", "scoring/metrics.py", "return paired_differences([predicted], reference, actual)[0]", "return unpaired_difference((predicted, actual), (reference, actual))", "tests/scoring/test_metrics.py"),
    Mutant("conformal rank off by one", "scoring/metrics.py", "errors[rank - 1]", "errors[rank - 2]", "tests/scoring/test_metrics.py"),
    Mutant("val rows are training rows", "data/split.py", "held[order_held[n_test:]]", "train[: n_held - n_test]", "tests/data/test_split.py"),
    Mutant("divided by the variance", "data/encode.py", "(known - code.mean) / code.std", "(known - code.mean) / code.std**2", "tests/data/test_encode.py"),
    Mutant("unseen level taken as the first", "data/encode.py", "if is_strange.any():", "if is_strange.size == 0:", "tests/data/test_encode.py"),
    Mutant("last partial batch dropped", "data/batches.py", "if len(starts) > 1 and n_rows - starts[-1] < 2 * n_ranks:", "if len(starts) > 1:", "tests/data/test_batches.py"),
    Mutant("dropout not tied to the epoch", "train/network/module.py", "torch.default_generator.manual_seed(seed)", "pass", "tests/train/network/test_checkpoints.py -k resumes"),
    Mutant("chunks forget to clip", "train/network/module.py", "            self._clip(parameters)\n", "", "tests/train/network/test_fast.py -k same_bits"),
    Mutant("the rate stands still in a chunk", "train/network/module.py", "            step += 1\n", "", "tests/train/network/test_fast.py -k same_bits"),
    Mutant("processes train on the same rows", "data/batches.py", "torch.arange(a + self.rank, b,", "torch.arange(a, b,", "tests/data/test_batches.py"),
    Mutant("early stopping forgotten by a resumed run", "train/network/checkpoints.py", "trainer.should_stop = self.watch.is_stopped_early", "trainer.should_stop = False", "tests/train/network/test_checkpoints.py -k trained_further"),
    Mutant("'None' read as missing", "data/source.py", "keep_default_na=False, na_values=[]", "keep_default_na=True", "tests/data"),
    Mutant("a gain without interval beats", "judge/verdict.py", "if all(interval.high < 0 for", "if all(interval.value < 0 for", "tests/judge/test_judge.py"),
    Mutant("a wide interval matches", "judge/verdict.py", "if evidence.worst_share(furthest) <= MATCH_SHARE:", "if True:", "tests/judge/test_judge.py"),
    Mutant("baselines see the scored rows", "scoring/baselines/ridge.py", "sums = total.without(_Sums.over(design, held_out, centred[fold.held_out]))", "sums = total", "tests/scoring/test_baselines.py -k by_heart"),
    Mutant("typos with a plus let through", "config/dataset.py", 'ConfigDict(extra="forbid", frozen=True)', 'ConfigDict(extra="ignore", frozen=True)', "tests/config"),
    Mutant("a changed bundle used", "bundle/manifest.py", "if (sha256 := _sha256(path)) != expected.sha256:", 'if (sha256 := _sha256(path)) == "":', "tests/bundle/test_manifest.py -k flipped"),
    Mutant("a row that can't be read predicted", "export/model.py", "encoded.is_strange, graph.constant(np.nan), predicted,", "encoded.is_strange, predicted, predicted,", "tests/export/test_write.py -k no_rule"),
    Mutant("graph not held against torch", "export/write.py", "if not difference <= tolerance:", "if difference < 0:", "tests/export/test_write.py -k not_the_model"),
    Mutant("groups of few rows published", "report/views/scores.py", "shown = [part for part in slices if part.n >= MIN_SLICE]", "shown = list(slices)", "tests/report/test_run_page.py -k few_rows"),
    Mutant("text taken for Markdown", "report/pages/template.py", "return _in_one_line(escaped)", "return _in_one_line(str(text))", "tests/report/test_templates.py -k markup_in_a_text"),
    Mutant("names taken for markup", "report/pages/template.py", 'autoescape=select_autoescape(("html",))', "autoescape=False", "tests/report -k hostile"),
    Mutant("one batch order for a whole stack", "train/stack/fit.py", "seeds = stack.seeds if len(drawn) > 1 else stack.seeds[:1]", "seeds = stack.seeds[:1]", "tests/train/stack/test_fit.py -k one-hot"),
    Mutant("one dropout for a whole stack", "train/stack/dropout.py", "epoch_generator(seeds[members[0]], epoch)", "epoch_generator(seeds[0], epoch)", "tests/train/stack/test_dropout.py"),
    Mutant("a damaged object put in place", "data/dvc/remote.py", "if found != md5:", 'if found == "":', "tests/data/dvc/test_transfer.py -k damaged_object"),
    Mutant("versions scored on rows they saw", "data/versions/effect.py", "np.flatnonzero(~_are_among(other, test))", "np.arange(len(other))", "tests/data/versions -k neither"),
    Mutant("drift tested on rows that both have", "data/versions/drift.py", "second = new.frame[fresh]", "second = new.frame", "tests/data/versions -k too_few"),
    Mutant("numbers without an end served", "serving/predictor.py", 'extra="forbid", allow_inf_nan=False', 'extra="forbid"', "tests/serving/test_api.py -k finite"),
]  # fmt: skip


def main(names: list[str]) -> int:
    """Runs the mutants; returns how many survived."""
    survivors = []
    chosen = [m for m in MUTANTS if not names or any(name in m.name for name in names)]
    for mutant in chosen:
        is_killed = try_mutant(mutant)
        sys.stdout.write(
            f"{'killed  ' if is_killed else 'SURVIVED'}  {mutant.name}  ({mutant.file}; {mutant.tests})\n"
        )
        sys.stdout.flush()
        if not is_killed:
            survivors.append(mutant.name)
    sys.stdout.write(f"{len(chosen) - len(survivors)} of {len(chosen)} killed\n")
    return len(survivors)


def try_mutant(mutant: Mutant) -> bool:
    """Whether the named tests, which pass on the code as it is, fail on the mutant."""
    if run_tests(mutant.tests, None) != 0:
        raise SystemExit(f"{mutant.name}: {mutant.tests} fails without it already")
    return run_tests(mutant.tests, mutant) == 1


@cache
def run_tests(tests: str, mutant: Mutant | None) -> int:
    """Pytest's exit code in a copy of the project, with the mutant planted if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "studperf"
        ignored = shutil.ignore_patterns(".venv", ".uv", ".git", "runs", "*_cache", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
        if mutant is not None:
            path = copy / "src" / "studperf" / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                raise SystemExit(
                    f"{mutant.name}: {mutant.file} holds {mutant.old!r} {text.count(mutant.old)} times, expected once"
                )
            path.write_text(text.replace(mutant.old, mutant.new))
        where, _, expression = tests.partition(" -k ")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
            where,
        ]
        command += ["-k", expression] if expression else []
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        return subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
