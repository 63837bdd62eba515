"""The official splits of UCF101 and HMDB51: three folds of text files each."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from kinoray.data.annotations import INDEX, AnnotationSource, Lines, group_of
from kinoray.data.paths import below

NUM_REQUESTS = 16
"""Files of a store that are asked for at a time."""

HMDB51_CLASSES: tuple[str, ...] = tuple(
    """brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat fall_floor fencing
    flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour pullup punch push pushup ride_bike
    ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit situp smile smoke somersault stand swing_baseball
    sword sword_exercise talk throw turn walk wave""".split()  # noqa: SIM905 - quotes would hide the names
)
"""In the order of their indices; the data set itself has no list of them."""


class Ucf101Source(AnnotationSource):
    """UCF101 by its official lists; videos lie in ``root/<class>/``.

    The column ``group`` names the footage that a clip was cut from; clips of one group look alike.
    """

    kind: str = "ucf101"
    annotations: str
    """Folder or URI of ``classInd.txt``, ``trainlist01.txt``, ``testlist01.txt`` and so on."""
    split: Literal["train", "test"]
    fold: Literal[1, 2, 3] = 1
    """The official split, of which there are three."""

    def describe(self) -> str:
        return f"{self.annotations} {self.split} of split {self.fold}"

    def class_names(self) -> tuple[str, ...]:
        lines = Lines.read(below(self.annotations, "classInd.txt"))
        fields = lines.fields(rf"(?P<number>{INDEX})\s+(?P<name>\S+)", "the number and name of a class", "3 Archery")
        expected = pa.array(range(1, len(lines.texts) + 1))
        lines.check(pc.equal(fields["number"].cast(pa.int64()), expected), "the next number", "they count from 1 on")
        return tuple(fields["name"].to_pylist())

    def read(self) -> pa.Table:
        classes = self.class_names()
        lines = Lines.read(below(self.annotations, f"{self.split}list{self.fold:02d}.txt"))
        # Test lists name no class; the folder does.
        pattern = r"(?P<path>(?P<label>[^/]+)/.*\.\w+)(?:\s+(?P<number>\d+))?"
        fields = lines.fields(pattern, "a video and the number of its class", "Archery/v_Archery_g08_c01.avi 3")
        lines.check_classes(fields["label"], classes, "classInd.txt")
        number = pc.add(pc.index_in(fields["label"], value_set=pa.array(classes)), 1).cast(pa.string())
        agrees = pc.or_(pc.equal(fields["number"], ""), pc.equal(fields["number"], number))
        lines.check(agrees, "a folder and a number of the same class", "classInd.txt says otherwise")
        return pa.table(
            {
                "video_id": fields["path"],
                "path": lines.rooted(self.root, fields["path"]),
                "label": fields["label"],
                "group": group_of(fields["path"], r"^(?P<group>.*_g\d+)_c\d+\.\w+$"),
            }
        )


class Hmdb51Source(AnnotationSource):
    """HMDB51 by its official lists; videos lie in ``root/<class>/``.

    Of each class and fold, 70 clips are for training, 30 for testing, and the others stay out. The column ``group``
    names the film that a clip was cut from.
    """

    kind: str = "hmdb51"
    annotations: str
    """Folder or URI of the 153 files ``<class>_test_split<1 to 3>.txt``."""
    split: Literal["train", "test"]
    fold: Literal[1, 2, 3] = 1
    """The official split, of which there are three."""

    def describe(self) -> str:
        return f"{self.annotations} {self.split} of split {self.fold}"

    def class_names(self) -> tuple[str, ...]:
        return HMDB51_CLASSES

    def read(self) -> pa.Table:
        with ThreadPoolExecutor(NUM_REQUESTS) as pool:
            tables: Sequence[pa.Table] = list(pool.map(self._read_class, HMDB51_CLASSES))
        return pa.concat_tables(tables)

    def _read_class(self, label: str) -> pa.Table:
        lines = Lines.read(below(self.annotations, f"{label}_test_split{self.fold}.txt"))
        pattern = r"(?P<name>.*\S)\s+(?P<mark>[012])"
        fields = lines.fields(pattern, "a video and its mark 0, 1 or 2", f"Movie_{label}_u_cm_np1_fr_goo_0.avi 1")
        is_ours = pc.equal(fields["mark"], "1" if self.split == "train" else "2")
        lines, names = lines.filter(is_ours), fields["name"].filter(is_ours)
        paths = pc.binary_join_element_wise(label, names, "/")
        # After the film and the class come what is seen of the body, the camera, people, side and quality.
        tags = r"_[a-z]_[nc]m_np\d+_(?:ba|fr|le|ri)_(?:goo|med|bad)_\d+\.\w+$"
        return pa.table(
            {
                "video_id": paths,
                "path": lines.rooted(self.root, paths),
                "label": pa.repeat(label, len(paths)),
                "group": group_of(names, rf"^(?P<group>.+)_{re.escape(label)}{tags}"),
            }
        )
