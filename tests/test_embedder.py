"""What the bundled table promises, and what happens to embedders that strangers supply."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_memory.errors import EmbeddingError, InvalidInput, ModelError
from agent_memory.models.embedder import FOLDER, Embedder, TableEmbedder, as_embedder
from agent_memory.models.wordpiece import WordPieces, words

TABLE = TableEmbedder()
ANYTHING = st.text(st.characters(codec=None), max_size=200)  # with NUL and lone surrogates


def is_a_unit_vector(vector: object) -> bool:
    array = np.asarray(vector)
    return array.shape == (TABLE.dimension,) and bool(np.isclose(np.linalg.norm(array), 1, atol=1e-5))


@given(ANYTHING)
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_finite_vector_of_length_one(text: str) -> None:
    assert is_a_unit_vector(TABLE.embed_array([text])[0])


ODD = ["", " \n", "\0", "a\0b", "\ud800", "x\udfff y", "...", "\u200d\ufe0f", "😀"]
UNSEEN = ["我住在里斯本", "ሰላም ለዓለም", "สวัสดี"]
HUGE = ["a" * 1_000_000, "I live in Lisbon. " * 58_000, "é" * 500_000, "\0" * 1_000_000]


@pytest.mark.parametrize("text", ODD + UNSEEN)
def test_odd_texts_are_embedded(text: str) -> None:
    assert is_a_unit_vector(TABLE.embed_query(text))


@pytest.mark.parametrize("text", HUGE, ids=["one word", "sentences", "accents", "NUL"])
def test_a_megabyte_is_embedded(text: str) -> None:
    assert is_a_unit_vector(TABLE.embed_query(text))


def test_a_very_long_text_is_summed_like_a_short_one() -> None:
    sentence = "The keys are in the blue bowl beside the door. "
    once, often = TABLE.embed_array([sentence, sentence * 5000])
    assert np.allclose(once, often, atol=1e-5)


def test_texts_without_a_word_share_one_vector_that_is_far_from_all_others() -> None:
    empty, dots, lisbon = TABLE.embed_array(["", "...", "I live in Lisbon"])
    assert np.array_equal(empty, dots)
    assert abs(float(empty @ lisbon)) < 0.3


def test_texts_in_an_unseen_script_are_told_apart() -> None:
    peace, bread, again = TABLE.embed_array(["ሰላም", "ዳቦ", "ሰላም"])
    assert np.array_equal(peace, again)
    assert float(peace @ bread) < 0.9


@given(st.lists(ANYTHING, min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_vector_of_a_text_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together = TABLE.embed_array(texts)
    assert all(np.array_equal(row, TABLE.embed_array([text])[0]) for row, text in zip(together, texts,
    strict=True))


def test_case_accents_and_punctuation_do_not_count() -> None:
    plain, decorated = TABLE.embed_array(["cafe in sao paulo", "Café, in São Paulo!"])
    assert np.array_equal(plain, decorated)


def test_what_means_the_same_lies_nearer_than_what_does_not() -> None:
    question = TABLE.embed_array(["Which pet does she own?"])[0]
    dog, meeting = TABLE.embed_array(["She has a dog called Rex.", "The budget meeting moved to Friday."])
    assert question @ dog > question @ meeting


def test_queries_documents_and_arrays_agree() -> None:
    text = "My sister works in Porto."
    vector = TABLE.embed_query(text)
    assert isinstance(vector, list)
    assert isinstance(vector[0], float)
    assert TABLE.embed_documents([text]) == [vector] == TABLE.embed_array([text]).tolist()
    assert TABLE.embed_array([]).shape == (0, TABLE.dimension)
    assert TABLE.embed_array([text]).dtype == np.float32


def test_a_forgetful_word_cache_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one two three four five six seven one two three"
    monkeypatch.setattr("agent_memory.models.wordpiece.CACHED_WORDS", 2)
    forgetful = TableEmbedder()
    assert np.array_equal(forgetful.embed_array([text]), TABLE.embed_array([text]))
    assert len(forgetful._pieces) <= 2


def test_threads_share_one_table() -> None:
    texts = [f"thread text number {n} about {n * 7919} things" for n in range(200)]
    expected, found = TableEmbedder().embed_array(texts), {}
    shared = TableEmbedder()

    def embed(worker: int) -> None:
        found[worker] = shared.embed_array(texts)

    threads = [threading.Thread(target=embed, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(vectors, expected) for vectors in found.values())


def test_words_are_split_into_the_longest_known_pieces() -> None:
    vocabulary = {"play": 0, "##ing": 1, "##in": 2, "##g": 3, "x": 4}
    pieces = WordPieces(vocabulary, first_bucket=5, buckets=1)
    assert pieces["playing"] == (0, 1)
    assert pieces["playx"] == (0, 4)  # no piece continues with x; it is taken as if it began a word
    assert pieces["play\u1200"] == (0, 5)  # an unknown character falls into a bucket
    assert len(pieces["x" * 1000]) == 1000


def test_words_follow_bert_where_it_can_read() -> None:
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    text = "Zoë's 2nd naïve plan, for 我们 and Łódź: don't re-use v1.2 at 10:30!"
    theirs = [w for w, _ in BertPreTokenizer().pre_tokenize_str(BertNormalizer().normalize_str(text))]
    assert words(text) == [word for word in theirs if word.isalnum()]


@pytest.mark.parametrize("file", ["manifest.json", "table.safetensors", "vocabulary.txt"])
@pytest.mark.parametrize("harm", ["missing", "altered", "cut"])
def test_a_missing_or_altered_file_is_named(tmp_path: Path, file: str, harm: str) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(FOLDER, folder)
    path = folder / file
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "cut" else b"#" + content[1:])
    with pytest.raises(ModelError, match=file.replace(".", r"\.")):
        TableEmbedder(folder)


def test_a_manifest_that_does_not_fit_its_table_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(FOLDER, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "dimension": 128}))
    with pytest.raises(ModelError, match="manifest"):
        TableEmbedder(folder)


def test_the_identity_changes_with_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(FOLDER, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert TableEmbedder(folder).identity == TABLE.identity
    vocabulary = (folder / "vocabulary.txt").read_bytes().replace(b"paris", b"pariz")
    (folder / "vocabulary.txt").write_bytes(vocabulary)
    manifest["files"]["vocabulary.txt"] = hashlib.sha256(vocabulary).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert TableEmbedder(folder).identity != TABLE.identity


def test_the_folder_is_small_enough() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 9_000_000


def test_the_module_wins_over_the_folder_of_the_same_name_and_needs_no_torch() -> None:
    program = (
        "import sys, agent_memory.models.embedder as m\n"
        "m.as_embedder().embed_query('a'); print(m.__file__)\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'langchain_core', 'chromadb'}\n"
        "assert not heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("embedder.py")


class Foreign:
    """An embedder of a stranger with LangChain's two methods; `answer` decides what it returns."""

    model = "tiny-1"

    def __init__(self, answer: object = None) -> None:
        self.answer = answer

    def embed_documents(self, texts: list[str]) -> object:
        return [[float(len(t)), 1.0] for t in texts] if self.answer is None else self.answer

    def embed_query(self, text: str) -> list[float]:
        return [float(len(text)), 2.0]


def test_none_is_the_bundled_table_loaded_once() -> None:
    assert as_embedder() is as_embedder(None)
    assert as_embedder().identity == TABLE.identity


def test_an_embedder_of_ours_is_not_wrapped_again() -> None:
    wrapped = as_embedder(Foreign())
    assert as_embedder(wrapped) is wrapped
    assert as_embedder(TABLE) is TABLE


@pytest.mark.parametrize("given", [None, Foreign(), lambda texts: [[1.0, 0.0] for _ in texts]])
def test_every_embedder_meets_the_protocol(given: object) -> None:
    embedder = as_embedder(given)
    assert isinstance(embedder, Embedder)
    vectors = embedder.embed_array(["one", "two"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (2, embedder.dimension)
    assert embedder.embed_documents(["one", "two"]) == vectors.tolist()
    assert len(embedder.embed_query("one")) == embedder.dimension
    assert embedder.embed_array([]).shape == (0, embedder.dimension)


def test_langchains_own_embeddings_are_accepted() -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    embedder = as_embedder(DeterministicFakeEmbedding(size=12))
    assert embedder.identity == "DeterministicFakeEmbedding:12"
    assert embedder.embed_array(["a"]).shape == (1, 12)


def test_the_table_stands_in_for_langchains_embeddings() -> None:
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(TABLE)
    store.add_texts(["The keys are in the bowl.", "Lunch is at noon."])
    assert store.similarity_search("Where are my keys?", k=1)[0].page_content == "The keys are in the bowl."


def test_the_identity_of_a_foreign_embedder_tells_class_model_and_dimension() -> None:
    assert as_embedder(Foreign()).identity == "Foreign(tiny-1):2"


def test_a_query_may_be_embedded_unlike_a_document() -> None:
    embedder = as_embedder(Foreign())
    assert embedder.embed_query("abc") == [3.0, 2.0]
    assert embedder.embed_documents(["abc"]) == [[3.0, 1.0]]


WRONG = [
    [[1.0, float("nan")]], [[float("inf"), 1.0]], [[1e300, 1.0]], [[1.0, 2.0], [1.0, 2.0]], [[]], [],
    [1.0, 2.0], [["a", "b"]], [[1.0], [1.0, 2.0]], object(), [[[1.0, 2.0]]],
]


@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_of_a_foreign_embedder_is_one_typed_error(answer: object) -> None:
    with pytest.raises(EmbeddingError):
        as_embedder(Foreign(answer)).embed_array(["one"])


def test_a_dimension_that_changes_is_an_error() -> None:
    foreign = Foreign()
    embedder = as_embedder(foreign)
    assert embedder.dimension == 2
    foreign.answer = [[1.0, 2.0, 3.0]]
    with pytest.raises(EmbeddingError, match="3 dimensions after 2"):
        embedder.embed_array(["one"])


def test_what_a_foreign_embedder_raises_is_kept_as_cause_and_never_repeats_the_text() -> None:
    def broken(texts: list[str]) -> list[list[float]]:
        raise TimeoutError(texts[0])

    with pytest.raises(EmbeddingError) as caught:
        as_embedder(broken).embed_query("a secret")
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", [3, "all-MiniLM-L6-v2", Foreign, object()])
def test_what_is_no_embedder_is_refused(given: object) -> None:
    with pytest.raises(InvalidInput, match="embed_documents"):
        as_embedder(given)


@pytest.mark.parametrize("given", [None, lambda texts: [[1.0] for _ in texts]])
@pytest.mark.parametrize("texts", ["one text", [b"bytes"], [None]])
def test_what_is_no_text_is_refused(given: object, texts: list[str]) -> None:
    with pytest.raises(InvalidInput):
        as_embedder(given).embed_array(texts)
