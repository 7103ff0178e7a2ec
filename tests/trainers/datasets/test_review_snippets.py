"""The texts come out of the package as they are, and no review is on two sides."""

import collections
import itertools

import pytest

from tests.tiny_packages import review_snippets as tiny
from trainers.datasets import review_snippets
from trainers.datasets._package import DatasetError
from trainers.datasets.review_snippets import DOMAINS, ReviewSnippets, Snippet

SPLITS = ("train", "validation", "test")


def read(split, folder, domain="all"):
    return review_snippets.read("review_snippets", split, str(folder), domain)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_text_of_the_package_is_in_one_split_with_its_label(datasets_dir, domain):
    found = {}
    for split in SPLITS:
        texts, labels = read(split, datasets_dir, domain)
        found |= dict(zip((t.decode() for t in texts), labels.tolist(), strict=True))
    rows = tiny.snippets()[domain]
    assert found == {text: int(rating > 0) for _, rating, text in rows}


@pytest.mark.parametrize("domain", DOMAINS)
def test_ratings_are_those_of_the_texts_and_labels_their_signs(datasets_dir, domain):
    known = {text.encode(): rating for _, rating, text in tiny.snippets()[domain]}
    texts, labels = read("train", datasets_dir, domain)
    rated = review_snippets.ratings(
        "review_snippets", "train", str(datasets_dir), domain
    )
    assert rated == pytest.approx([known[text] for text in texts], rel=1e-6)
    assert ((rated > 0) == (labels == 1)).all()


def test_all_domains_together_are_each_of_them(datasets_dir):
    for split in SPLITS:
        each = [set(read(split, datasets_dir, domain)[0]) for domain in DOMAINS]
        assert set(read(split, datasets_dir)[0]) == set().union(*each)


def test_rated_words_are_for_training_alone_and_no_texts_of_all(datasets_dir):
    words, labels = read("train", datasets_dir, "words")
    rated = review_snippets.ratings(
        "review_snippets", "train", str(datasets_dir), "words"
    )
    assert [word.decode() for word in words] == list(tiny.WORDS)
    assert rated == pytest.approx(list(tiny.WORDS.values()))
    assert labels.tolist() == [1, 0, 1, 0]
    assert not set(words) & set(read("train", datasets_dir)[0])
    assert all(not len(read(s, datasets_dir, "words")[0]) for s in SPLITS[1:])


def test_a_word_that_is_a_whole_text_is_not_taught(tmp_path):
    content = dict.fromkeys(DOMAINS, "1\t0.5\ta film") | {"tweets": "1\t1.0\tWow!!"}
    lexicon = "wow\t2.8\t0.9\t[3]\nWow\t1.0\t0.9\t[3]\ngrim\t-2.7\t0.9\t[3]\n"
    sdist = tiny.write_sdist(tmp_path, content, lexicon)
    examples = ReviewSnippets(data_dir=tmp_path).read(sdist)["train"]
    words = [each["text"] for each in examples if each["domain"] == "words"]
    assert words == ["grim"]


def test_a_lexicon_without_words_is_refused(tmp_path):
    content = dict.fromkeys(DOMAINS, "1\t0.5\ta film")
    sdist = tiny.write_sdist(tmp_path, content, ":-)\t1.3\t0.9\t[1]\n")
    with pytest.raises(DatasetError, match="vader_lexicon.txt` holds no word"):
        ReviewSnippets(data_dir=tmp_path).read(sdist)


def test_a_tenth_is_held_out_for_validation_and_for_test(datasets_dir):
    sizes = [len(read(split, datasets_dir, "movies")[0]) for split in SPLITS]
    assert sizes == [320, 40, 40]


def test_sentences_of_one_review_are_on_one_side(datasets_dir):
    side = {t: split for split in SPLITS for t in read(split, datasets_dir)[0]}
    for domain in ("amazon", "nyt"):
        sides = collections.defaultdict(set)
        for i, _, text in tiny.snippets()[domain]:
            sides[i.partition("_")[0]].add(side[text.encode()])
        assert all(len(found) == 1 for found in sides.values())


def _snippets(*texts, domain="movies"):
    return [Snippet(domain, str(i), 1.0, text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("a", "b", "together"),
    [
        ("Yay. Another good one!", "YAY!!! another GOOD one", True),
        ("wow", "Wow!", True),
        ("wow", "wow indeed", False),
        ("one two three four five six", "one two three four five 6", True),  # 2 of 4
        ("one two three four five", "zero one two three four", False),  # 1 of 3
    ],
)
def test_texts_stay_together_that_are_nearly_the_same(a, b, together):
    first, second = review_snippets._groups(_snippets(a, b))
    assert (first == second) == together


def test_copies_of_copies_stay_together_too():
    texts = ["a b c d e f", "b c d e f g", "c d e f g h"]
    assert review_snippets._groups(_snippets(*texts)) == [0, 0, 0]


def test_where_a_text_goes_does_not_depend_on_those_around_it():
    texts = [f"text {n} with words {n} times" for n in range(200)]
    snippets = _snippets(*texts)
    sides = dict(zip(texts, review_snippets._split(snippets), strict=True))
    again = review_snippets._split(snippets[::-1])
    assert dict(zip(texts[::-1], again, strict=True)) == sides


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1\tgood\ta film", "Line 2"),
        ("1\t4.5\ta film", "Line 2"),
        ("1\t0.5\t ", "Line 2"),
        ("1 0.5 a film", "Line 2"),
        ("\t0.5\ta film", "Line 2"),
    ],
)
def test_other_lines_are_refused(tmp_path, line, reason):
    good = dict.fromkeys(DOMAINS, "1\t0.5\ta film")
    sdist = tiny.write_sdist(tmp_path, good | {"nyt": f"2\t1.0\tgood\r\n{line}"})
    with pytest.raises(DatasetError, match=f"{reason} of `nytEditorial"):
        ReviewSnippets(data_dir=tmp_path).read(sdist)


def test_an_empty_file_is_refused(tmp_path):
    content = dict.fromkeys(DOMAINS, "1\t0.5\ta film") | {"amazon": ""}
    with pytest.raises(DatasetError, match="`amazonReview.*is empty"):
        ReviewSnippets(data_dir=tmp_path).read(tiny.write_sdist(tmp_path, content))


def test_a_missing_file_is_told(tmp_path):
    sdist = tiny.write_sdist(tmp_path, {"movies": "1\t0.5\ta film"})
    with pytest.raises(DatasetError, match="cannot be read"):
        ReviewSnippets(data_dir=tmp_path).read(sdist)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_archive_is_told(content):
    with pytest.raises(DatasetError, match="cannot be read"):
        review_snippets._parse(content)


@pytest.mark.network
@pytest.mark.slow
def test_the_published_package_is_split_without_leaks(tmp_path):
    texts, sizes = {}, {}
    for split in SPLITS:
        movies, labels = read(split, tmp_path, "movies")
        sizes[split] = len(movies)
        texts[split] = [text.decode() for text in read(split, tmp_path)[0]]
        assert labels.mean() == pytest.approx(5_242 / 10_605, abs=0.03)
    assert sizes == {"train": 8_605, "validation": 1_000, "test": 1_000}
    counts = {split: len(found) for split, found in texts.items()}
    assert counts == ReviewSnippets.ABOUT.splits
    # Compared anew, each text of one side with all of the other, by another measure.
    for a, b in itertools.combinations(SPLITS, 2):
        holders = collections.defaultdict(set)
        ours = [review_snippets.shingles_of(text) for text in texts[a]]
        for place, shingles in enumerate(ours):
            for shingle in shingles:
                holders[shingle].add(place)
        for text in texts[b]:
            shingles = review_snippets.shingles_of(text)
            near = set().union(*(holders[s] for s in shingles if s in holders))
            for place in near:
                both, either = shingles & ours[place], shingles | ours[place]
                assert len(both) < 0.5 * len(either), (text, texts[a][place])
