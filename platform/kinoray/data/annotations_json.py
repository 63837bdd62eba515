"""Data sets that are listed in JSON files: Something-Something V2, Diving48."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from kinoray.data.annotations import (
    AnnotationSource,
    Lines,
    group_of,
    parse_json,
    read_entries,
    read_one_of,
    read_text,
    shortened,
)
from kinoray.data.paths import below, rooted
from kinoray.errors import DataError
from kinoray.video.files import without_passwords


class SthV2Source(AnnotationSource):
    """Something-Something V2 by its own files; a video is ``root/<id>.webm``.

    Labels are the templates without brackets ("Putting something next to something"). The test split has labels where
    ``test-answers.csv`` lies beside it.
    """

    kind: str = "sthv2"
    annotations: str
    """Folder or URI of ``labels.json``, ``train.json`` and so on, each perhaps after ``something-something-v2-``."""
    split: Literal["train", "val", "test"]
    ending: str = ".webm"

    def describe(self) -> str:
        return f"{self.annotations} {self.split}"

    def class_names(self) -> tuple[str, ...]:
        path, text = self._read("labels.json")
        indices = parse_json(path, text)
        names = {str(index): name for name, index in indices.items()} if isinstance(indices, dict) else {}
        order = [str(index) for index in range(len(names))]
        if not names or len(names) != len(indices) or set(names) != set(order):
            right = "it should be {class: index, ...} with indices from 0 on, each class its own"
            raise DataError(f"{path}: classes, got {shortened(text)}; {right}")
        return tuple(names[index] for index in order)

    def read(self) -> pa.Table:
        ids, labels = self._test() if self.split == "test" else self._labelled()
        files = pc.binary_join_element_wise(ids, self.ending, "")
        return pa.table(
            {
                "video_id": ids,
                "path": rooted(self.root, files, self.annotations, _entry),
                "label": labels,
            }
        )

    def _labelled(self) -> tuple[pa.Array, pa.Array]:
        path, text = self._read("train.json" if self.split == "train" else "validation.json")
        classes = set(self.class_names())
        ids, labels = [], []
        for number, entry in enumerate(read_entries(path, text, {"id": str, "template": str}), 1):
            label = entry["template"].replace("[", "").replace("]", "")
            if label not in classes:
                raise DataError(f"{path}, entry {number}: a template, got '{label}'; labels.json has no such class")
            ids.append(entry["id"])
            labels.append(label)
        return pa.array(ids, pa.string()), pa.array(labels, pa.string())

    def _test(self) -> tuple[pa.Array, pa.Array]:
        path, text = self._read("test-answers.csv", "test.json")
        if text.lstrip().startswith("["):  # without answers
            ids = pa.array([entry["id"] for entry in read_entries(path, text, {"id": str})], pa.string())
            return ids, pa.nulls(len(ids), pa.string())
        lines = Lines.of(path, text)
        fields = lines.fields(r"(?P<id>\d+);(?P<label>.*\S)", "an id and a class", "1420;Throwing something")
        lines.check_classes(fields["label"], self.class_names(), "labels.json")
        return fields["id"], fields["label"]

    def _read(self, *names: str) -> tuple[str, str]:
        """The first file that is there, by its new or its old name."""
        both = [(name, f"something-something-v2-{name}") for name in names]
        return read_one_of(self.annotations, [name for pair in both for name in pair])


class Diving48Source(AnnotationSource):
    """Diving48 by its own files, labels of version 2; a video is ``root/<name>.mp4``.

    Labels are the four parts of the dive ("Back+15som+05Twis+FREE"). Its ``start_frame`` and ``end_frame`` tell how
    long a clip is; the files are cut already. The column ``group`` is the competition's video that a clip comes from.
    """

    kind: str = "diving48"
    annotations: str
    """Folder or URI of ``Diving48_vocab.json``, ``Diving48_V2_train.json`` and ``Diving48_V2_test.json``."""
    split: Literal["train", "test"]
    ending: str = ".mp4"

    def describe(self) -> str:
        return f"{self.annotations} {self.split}"

    def class_names(self) -> tuple[str, ...]:
        path = below(self.annotations, "Diving48_vocab.json")
        dives = parse_json(path, read_text(path))
        if not isinstance(dives, list) or not all(isinstance(dive, list) for dive in dives):
            got = shortened(str(dives))
            raise DataError(f"{without_passwords(path)}: dives, got {got}; it should be a list of lists of their parts")
        return tuple("+".join(map(str, dive)) for dive in dives)

    def read(self) -> pa.Table:
        path = below(self.annotations, f"Diving48_V2_{self.split}.json")
        classes = self.class_names()
        names, labels = [], []
        for number, entry in enumerate(read_entries(path, read_text(path), {"vid_name": str, "label": int}), 1):
            if not 0 <= entry["label"] < len(classes):
                where = f"{without_passwords(path)}, entry {number}"
                raise DataError(f"{where}: a class, got {entry['label']}; labels are 0 to {len(classes) - 1}")
            names.append(entry["vid_name"])
            labels.append(classes[entry["label"]])
        ids = pa.array(names, pa.string())
        files = pc.binary_join_element_wise(ids, self.ending, "")
        return pa.table(
            {
                "video_id": ids,
                "path": rooted(self.root, files, path, _entry),
                "label": pa.array(labels, pa.string()),
                "group": group_of(ids, r"^(?P<group>.+)_\d+$"),
            }
        )


def _entry(number: int) -> str:
    return f"entry {number + 1}"
