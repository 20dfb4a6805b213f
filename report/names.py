"""The results of the experiments, under the names that the templates use."""

from typing import NamedTuple

from common.results import ResultsError, is_table, read_results


class Source(NamedTuple):
    """Where results lie in figures/, without ".json", and the command that makes them."""

    file: str
    command: str


SOURCES = {
    "function": Source("hw1_1_simulate", "python hw1_1_simulate.py"),
    "images": Source("hw1_1_mnist", "python hw1_1_mnist.py"),
    "paths": Source("hw1_2_pca", "python hw1_2_pca.py"),
    "gradient": Source("hw1_2_gradnorm", "python hw1_2_gradnorm.py"),
    "critical": Source("hw1_2_minratio", "python hw1_2_minratio.py"),
    "labels": Source("hw1_3_random_labels", "python hw1_3_random_labels.py"),
    "large_labels": Source("runs=1,epochs=150,train_size=60000,hidden_width=512/"
                           "hw1_3_random_labels",
                           "python hw1_3_random_labels.py --runs 1 --epochs 150 "
                           "--train-size 60000 --hidden-width 512"),
    "parameters": Source("hw1_3_params", "python hw1_3_params.py"),
    "flatness": Source("hw1_3_flatness", "python hw1_3_flatness.py"),
    "sensitivity": Source("hw1_3_sensitivity", "python hw1_3_sensitivity.py"),
    "choices": Source("image_settings", "python -m choices.image_settings"),
    "speed": Source("benchmark", "python -m benchmarks.benchmark"),
    "growth": Source("benchmark_growth", "python -m benchmarks.benchmark_growth"),
    "scaling": Source("benchmark_scaling", "python -m benchmarks.benchmark_scaling"),
}


class Results:
    """The results of one name, read from their file when a template first asks for a part."""

    def __init__(self, name, figures):
        self._name = name
        self._path = figures / f"{SOURCES[name].file}.json"
        self._stored = None

    def __getitem__(self, key):
        """A fact, or another part of the results, such as settings. A template writes name.key."""
        results = self._read()
        facts = results.get("facts", {})
        if key in facts:
            return facts[key]
        if key in results:
            return results[key]
        raise ValueError(f"{self._name} ({self._path}) has no fact {key!r}; it has "
                         f"{', '.join([*facts, *results])}")

    def rows(self, table, **conditions):
        """The rows of a table that have these values in these columns, at least one."""
        rows = self[table]
        if not is_table(rows):
            raise ValueError(f"{self._name}.{table} is no table")
        for column in conditions:
            if column not in rows[0]:
                raise ValueError(f"{self._name}.{table} has no column {column!r}; it has "
                                 f"{', '.join(rows[0])}")
        found = [row for row in rows if conditions.items() <= row.items()]
        if not found:
            raise ValueError(f"{self._name}.{table} has no row of {conditions}")
        return found

    def row(self, table, **conditions):
        """The only row of a table that has these values in these columns."""
        found = self.rows(table, **conditions)
        if len(found) > 1:
            raise ValueError(f"{self._name}.{table} has {len(found)} rows of {conditions} where "
                             "one is needed")
        return found[0]

    def _read(self):
        if self._stored is None:
            try:
                self._stored = read_results(self._path)
            except ResultsError as error:
                raise ValueError(f"{self._name}: {error}: "
                                 f"{SOURCES[self._name].command}") from None
        return self._stored
