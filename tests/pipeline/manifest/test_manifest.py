"""Manifests: all of ours are right, and each way to be wrong gets its one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.dag.steps import Step
from pipeline.dag.wiring import wire
from pipeline.manifest.document import document_type, stage_of
from pipeline.manifest.load import Manifest, load_manifest
from stages.errors import UserError
from stages.registry import STAGES

MANIFESTS = sorted(Path("manifests").glob("*.yaml"))
WITHOUT_ROUNDS = [path for path in MANIFESTS if "rounds" not in yaml.safe_load(path.read_text())]

GOOD = """\
output: out
sources:
  web:
    format: laion
    path: parts/*.parquet
download:
  image_size: 384
caption:
  model: Salesforce/blip-image-captioning-large
  top_p: 0.9
rank:
  model: ViT-L-14-quickgelu
  pretrained: openai
filter:
  model: Salesforce/blip-itm-large-coco
select:
  k: 2
"""


def change(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


EVALUATED_WEB = "  web:\n    format: laion\n    path: parts/*.parquet\n"
PEOPLE = "  people:\n    format: coco\n    path: coco.json\n    images: images\n"
EVALUATED = (
    GOOD.replace(
        EVALUATED_WEB,
        EVALUATED_WEB + PEOPLE + PEOPLE.replace("people", "people_test") + "    splits: [test]\n    use: measure\n",
    )
    + "pretrain:\n  model: ViT-L-14-quickgelu\n  pretrained: openai\nevaluate:\n  top_k: 20\n"
)
"""GOOD, with people's captions to train on and others to measure on."""

MIXED = EVALUATED.replace(
    "pretrained: openai\nevaluate:", "pretrained: openai\n  mixture: {web: 2, people: 1}\nevaluate:"
)

WRONG = {
    "mistyped key": (change("top_p:", "topp:"), "10: caption.topp: unknown key; did you mean 'top_p'?"),
    "mistyped section": (change("select:", "selct:"), "16: selct: unknown key; did you mean 'select'?"),
    "unknown stage": (
        GOOD + "translate: {}\n",
        "18: translate: unknown key; the keys here are output, demo, removed, sources, urls, download, hash, dedup, "
        "annotate, questions, caption, rank, filter, select, med, finetune, pretrain, evaluate, predict, "
        "evaluate_captions, answer, evaluate_answers, rounds",
    ),
    "a section with a name of its own that says no stage": (
        GOOD + "second: {model: x, top_p: 0.5}\n",
        "18: second: unknown key; a section with a name of its own says its stage: "
        "did you mean 'stage: caption' in it?",
    ),
    "a section of no stage": (
        GOOD + "second: {stage: captoin}\n",
        "18: second.stage: found \"captoin\"; must be one of 'urls', 'download', 'hash', 'dedup', 'annotate', "
        "'questions', 'caption', 'rank', 'filter', 'select', 'med', 'finetune', 'pretrain', 'evaluate', 'predict', "
        "'evaluate_captions', 'answer' or 'evaluate_answers'",
    ),
    "a section called like what is none": (
        GOOD + "removed: {stage: caption, model: x}\n",
        '18: removed: found {"stage": "caption", "model": "x"}; must be a text; put it in quotes',
    ),
    "a section called like a round": (
        GOOD + "caption@2: {stage: caption, model: x}\n",
        "18: caption@2: 'caption@2' cannot be a section's name; "
        "choose another of lower-case letters, digits, '-' and '_'",
    ),
    "a section with a name that is taken": (
        GOOD + "copy: {stage: caption, model: x}\n",
        "18: copy: 'copy' cannot be a section's name; choose another of lower-case letters, digits, '-' and '_'",
    ),
    "a mistyped key of a section with a name of its own": (
        GOOD.replace("rank:", "second: {stage: caption, model: x, topp: 1}\nrank:"),
        "11: second.topp: unknown key; did you mean 'top_p'?",
    ),
    "near duplicates without hashes": (
        change("caption:", "dedup: {near: 2}\ncaption:"),
        "8: dedup.near: found 2, but there is no 'hash' section above; add 'hash: {}'",
    ),
    "hashes that nothing reads": (
        change("caption:", "hash: {}\ncaption:"),
        "8: hash: nothing reads its hashes; leave this section out, or add one below that does: dedup",
    ),
    "hashes that nothing compares": (
        change("caption:", "hash: {}\ndedup: {}\ncaption:"),
        "9: dedup: 'near' is not set, so that nothing reads the hashes of 'hash'; set it, or leave that section out",
    ),
    "copies that are found too late": (
        GOOD + "rounds:\n  times: 1\n  caption: {}\n  dedup: {}\n",
        "21: rounds.dedup: nothing reads its duplicates, for 'caption' stands above; move this section above 'caption'",
    ),
    "a filter below the selection": (
        GOOD + "rounds:\n  times: 1\n  select: {}\n  late: {stage: filter, model: x}\n",
        "21: rounds.late: nothing reads its matches, for 'select' stands above; move this section above 'select'",
    ),
    "images that come too late": (
        change("download:\n  image_size: 384\n", "") + "rounds:\n  times: 1\n  download: {}\n",
        "1: annotate: reads images, which 'download' below it writes; move that section above 'annotate'",
        "6: caption: reads images, which 'download' below it writes; move that section above 'caption'",
        "9: rank: reads images, which 'download' below it writes; move that section above 'rank'",
        "12: filter: reads images, which 'download' below it writes; move that section above 'filter'",
    ),
    "two that rank": (
        change("filter:", "rank2: {stage: rank, model: x}\nfilter:"),
        "17: select: reads similarities of one step, and finds rank and rank2; "
        "list under 'reads:' all that it shall read, and of these one",
    ),
    "reading of what there is not": (
        change("k: 2", "reads: [annotate, cpation, rank, filter]"),
        '17: select.reads: found "cpation"; there is no such step, the steps are '
        "urls, download, annotate, caption, rank, filter, select",
    ),
    "reading too little": (
        change("k: 2", "reads: [rank, filter]"),
        "16: select: reads captions, which 'annotate' writes; its 'reads:' leaves that out, so add it there",
    ),
    "a model of no step": (
        change("Salesforce/blip-itm-large-coco", "{from: matcher}"),
        "14: filter: takes its model from 'matcher', and there is no such step above it; "
        "those above that make models: none",
    ),
    "a model of a step that makes none": (
        change("Salesforce/blip-itm-large-coco", "{from: caption}"),
        "14: filter: takes its model from 'caption', which makes no model; those above that make models: none",
    ),
    "a model of a step below": (
        change("Salesforce/blip-itm-large-coco", "{from: select}"),
        "14: filter: takes its model from 'select', which stands below it; move that section above",
    ),
    "a model that is a mapping": (
        change("Salesforce/blip-itm-large-coco", "{form: caption}"),
        "15: filter.model: a model is a text, or {from: STEP} with the name of a step above",
    ),
    "rounds without a number": (GOOD + "rounds: {rank: {}}\n", "18: rounds: missing key 'times'"),
    "no round": (GOOD + "rounds: {times: 0}\n", "18: rounds.times: found 0; must be at least 1"),
    "a mistyped key in the rounds": (
        GOOD + "rounds:\n  times: 2\n  caption: {topp: 0.3}\n",
        "20: rounds.caption.topp: unknown key; did you mean 'top_p'?",
    ),
    "a round that stands above what it goes on from": (
        GOOD.replace(
            "caption:",
            "rounds:\n  times: 2\n  caption: {}\n  rank: {model: x}\n  select: {itm_threshold: null}\ncaption:",
        ),
        "10: rounds.caption: missing key 'model'",
    ),
    "a number out of range": (change("0.9", "1.5"), "10: caption.top_p: found 1.5; must be at most 1"),
    "a number that is none": (change("0.9", "high"), '10: caption.top_p: found "high"; must be a number'),
    "a number in quotes": (change("0.9", "'0.9'"), '10: caption.top_p: found "0.9"; must be a number'),
    "more captions than beams": (
        change("top_p: 0.9", "beams: 3"),
        "8: caption: candidates 10 are more than the beams 3; lower the one or raise the other",
    ),
    "half a caption": (change("k: 2", "k: 1.5"), "17: select.k: found 1.5; must be a whole number"),
    "no captions kept": (change("k: 2", "k: 0"), "17: select.k: found 0; must be at least 1"),
    "true for a number": (change("k: 2", "k: True"), "17: select.k: found True; must be a whole number"),
    "yes, which is a word": (change("k: 2", "k: yes"), '17: select.k: found "yes"; must be a whole number'),
    "a list for a number": (change("k: 2", "k: [2]"), "17: select.k: found [2]; must be a whole number"),
    "a negative size": (change("384", "-1"), "7: download.image_size: found -1; must be at least 1"),
    "a model that is no text": (
        change("Salesforce/blip-itm-large-coco", "[1]"),
        "15: filter.model: found [1]; must be a text; put it in quotes",
    ),
    "no model": (
        change("  model: Salesforce/blip-itm-large-coco\n", "  dtype: float32\n"),
        "14: filter: missing key 'model'",
    ),
    "an unknown dtype": (
        change("  top_p: 0.9", "  dtype: fp16"),
        "10: caption.dtype: found \"fp16\"; must be one of 'float32', 'bfloat16' or 'float16'",
    ),
    "no output": (change("output: out\n", ""), "1: missing key 'output'"),
    "an empty output": (change("output: out", "output: ''"), '1: output: found ""; must not be empty'),
    "an output without a value": (
        change("output: out", "output:"),
        "1: output: found null; must be a text; put it in quotes",
    ),
    "no sources": ("output: out\nsources: {}\n", "2: sources: found {}; must have at least 1 entry"),
    "sources as a list": (
        "output: out\nsources:\n  - laion\n",
        '2: sources: found ["laion"]; must be a mapping of keys to values',
    ),
    "an unknown format": (
        change("format: laion", "format: lion"),
        "4: sources.web.format: 'lion' is no format; must be one of 'laion', 'parquet', 'csv', 'jsonl', 'json', "
        "'cc3m', 'cc12m', 'sbu', 'coco', 'nocaps', 'vg', 'vqa', 'vg_qa', 'webdataset'",
    ),
    "no format": (
        change("    format: laion\n", ""),
        "3: sources.web: missing key 'format'; it says how the source's list is laid out",
    ),
    "no path": (change("    path: parts/*.parquet\n", ""), "3: sources.web: missing key 'path'"),
    "a path that is none": (
        change("parts/*.parquet", "7"),
        "5: sources.web.path: found 7; must be a text or a list of texts",
    ),
    "a path that is none, of a source of an odd name": (
        change("  web:", "  str:").replace("parts/*.parquet", "7"),
        "5: sources.str.path: found 7; must be a text or a list of texts",
    ),
    "one number of two": (
        MIXED.replace("mixture: {web: 2, people: 1}", "betas: [0.9]"),
        "31: pretrain.betas: has too few entries",
    ),
    "another format's key": (
        change("    format: laion\n", "    format: laion\n    splits: [train]\n"),
        "5: sources.web.splits: unknown key; the keys here are format, path, where, use, keep",
    ),
    "a bad source name": (
        change("  web:", "  My.Web:"),
        "3: sources.My.Web: 'My.Web' cannot be a source's name; "
        "a name is made of lower-case letters, digits, '-' and '_'",
    ),
    "run settings in the recipe": (
        change("  top_p: 0.9", "  actors: 4"),
        "10: caption.actors: unknown key; it stands under 'run:'",
    ),
    "a recipe key under run": (
        change("  top_p: 0.9", "  run: {top_p: 0.9}"),
        "10: caption.run.top_p: unknown key; it stands under 'caption:' itself",
    ),
    "no gpu": (change("  top_p: 0.9", "  run: {gpus: -1}"), "10: caption.run.gpus: found -1; must be at least 0"),
    "no ranking": (
        change("rank:\n  model: ViT-L-14-quickgelu\n  pretrained: openai\n", ""),
        "14: select.k: found 2, but there is no 'rank' section above; add one, or set null to keep all that pass",
    ),
    "no ranking, without a section that says k": (
        change("rank:\n  model: ViT-L-14-quickgelu\n  pretrained: openai\n", "").replace("select:\n  k: 2\n", ""),
        "1: select: found 2, but there is no 'rank' section above; add one, or set null to keep all that pass",
    ),
    "a threshold without a filter": (
        change("filter:\n  model: Salesforce/blip-itm-large-coco\n", "").replace("k: 2", "itm_threshold: 0.5"),
        "15: select.itm_threshold: found 0.5, but there is no 'filter' section above; "
        "add one, or set null to rank by CLIP alone",
    ),
    "a use that there is not": (
        EVALUATED.replace("use: measure", "use: test"),
        "15: sources.people_test.use: found \"test\"; must be one of 'web', 'pairs', 'both' or 'measure'",
    ),
    "a set whose texts are the web's": (
        EVALUATED.replace("    format: laion\n", "    format: laion\n    use: measure\n"),
        "5: sources.web.use: found \"measure\", but these are the web's texts, not people's; say web or pairs",
    ),
    "the web's texts as people's": (
        change("    format: laion\n", "    format: laion\n    use: both\n"),
        "5: sources.web.use: found \"both\", but these are the web's texts, not people's; say web or pairs",
    ),
    "people's texts as the web's": (
        EVALUATED.replace("use: measure", "use: web"),
        '15: sources.people_test.use: found "web", but people wrote these texts; say pairs, both or measure',
        "31: evaluate: takes sources whose 'use' is 'measure', and there is none",
    ),
    "no set": (
        EVALUATED.replace("    use: measure\n", ""),
        "30: evaluate: takes sources whose 'use' is 'measure', and there is none",
    ),
    "a set that nothing measures on": (
        EVALUATED.replace("evaluate:\n  top_k: 20\n", ""),
        "10: sources.people_test: its 'use' is 'measure', and no section measures on it; add one that does",
    ),
    "a set that is also trained on": (
        EVALUATED.replace("splits: [test]", "splits: [restval, test]"),
        "6: sources.people: its rows are also those of 'people_test', which is measured on and nothing may "
        "train on; take other 'splits' here, or tell the two apart by 'where'",
    ),
    "nothing to train on": (
        "output: out\n" + EVALUATED[EVALUATED.index("sources:") :].replace(EVALUATED_WEB, "").replace(PEOPLE, ""),
        "21: pretrain: takes sources whose 'use' is 'both' or 'pairs' or 'web', and there is none",
    ),
    "nothing to evaluate": (
        EVALUATED.replace("pretrain:\n  model: ViT-L-14-quickgelu\n  pretrained: openai\n", ""),
        "28: evaluate: has no model to measure; name a `matcher`, or add a section 'pretrain' above it",
    ),
    "too few candidates": (
        EVALUATED.replace("top_k: 20", "top_k: 5"),
        "32: evaluate.top_k: found 5; must be at least 10",
    ),
    "a key twice": (GOOD + "output: other\n", "18: output: this key stands here twice; keep one"),
    "a nested key twice": (
        change("  top_p: 0.9", "  top_p: 0.9\n  top_p: 0.8"),
        "11: caption.top_p: this key stands here twice; keep one",
    ),
    "not YAML": (
        change("  web:", "  web: ["),
        "5: not YAML: expected ',' or ']', but got ':'; check the indentation and quotes here",
    ),
    "a tab": (
        change("  web:", "\tweb:"),
        "3: not YAML: found character '\\t' that cannot start any token; check the indentation and quotes here",
    ),
    "a list": ("- a\n- b\n", "1: a manifest is a mapping that starts with 'output:' and 'sources:'"),
    "nothing": ("", "1: a manifest is a mapping that starts with 'output:' and 'sources:'"),
    "an infinite number": (change("0.9", ".inf"), "10: caption.top_p: found .inf; must be a finite number"),
    "a number that is none, by name": (change("0.9", ".NaN"), "10: caption.top_p: found .NaN; must be a finite number"),
    "a number too great for a machine": (
        change("0.9", "1e999"),
        "10: caption.top_p: found 1e999; must be a finite number",
    ),
    "an infinite whole number": (change("k: 2", "k: -.inf"), "17: select.k: found -.inf; must be a whole number"),
    "an infinite text": (
        change("Salesforce/blip-itm-large-coco", ".inf"),
        "15: filter.model: found .inf; must be a text; put it in quotes",
    ),
    "an infinite deadline": (
        change("  top_p: 0.9", "  run: {deadline: .inf}"),
        "10: caption.run.deadline: found .inf; must be a finite number",
    ),
    "a deadline of ages": (
        change("  top_p: 0.9", "  run: {deadline: 1e20}"),
        "10: caption.run.deadline: found 1e20; must be at most 31536000",
    ),
    "a GPU and a half": (
        change("  top_p: 0.9", "  run: {gpus: 1.5}"),
        "10: caption.run.gpus: found 1.5; Ray reserves whole GPUs, or of a single one a fraction from 0.001 on",
    ),
    "a huge whole number": (
        change("  top_p: 0.9", "  seed: 99999999999999999999"),
        "10: caption.seed: found 99999999999999999999; must be less than 9223372036854775808",
    ),
    "more digits than a number has": (
        change("k: 2", f"k: {'9' * 5000}"),
        f'17: select.k: found "{"9" * 56}...; must be a whole number',
    ),
    "a leading zero": (
        change("k: 2", "k: 010"),
        "17: select.k: found 010, which is octal to some; leave the leading zero out, or put it in quotes",
    ),
    "minutes and seconds": (change("k: 2", "k: 1:30"), '17: select.k: found "1:30"; must be a whole number'),
    "a date": (change("k: 2", "k: 2024-01-01"), '17: select.k: found "2024-01-01"; must be a whole number'),
    "a commit that is a number to YAML": (
        change("  top_p: 0.9", "  revision: 1e5"),
        "10: caption.revision: found 1e5; must be a text; put it in quotes",
    ),
    "a tag": (
        change("0.9", "!!python/name:os.system x"),
        "10: caption.top_p: the tag 'tag:yaml.org,2002:python/name:os.system' means nothing here; leave it out",
    ),
    "a tag that does not fit": (
        change("0.9", "!!int x"),
        "10: caption.top_p: found x, which its tag does not fit; leave the tag out",
    ),
    "a null that is a text": (
        change("0.9", "!!null foo"),
        "10: caption.top_p: found foo, which its tag does not fit; leave the tag out",
    ),
    "a key that is a list": (change("  web:", "  ? [a]\n  :"), "3: sources: a key is a word, not a list or a mapping"),
    "a list that holds itself": (change("0.9", "&a [*a]"), "10: caption.top_p: holds itself by an alias; write it out"),
    "an alias of nothing": (
        change("0.9", "*a"),
        "10: not YAML: found undefined alias 'a'; check the indentation and quotes here",
    ),
    "half of a character": (
        change("laion\n", "laion\n    where: \"x = '\\ud83d'\"\n"),
        "5: sources.web.where: found \"x = '\\ud83d'\", which has a character that no text may have; take it out",
    ),
    "a NUL in a path": (
        change("parts/*.parquet", '"parts\\0"'),
        "5: sources.web.path: found 'parts\\x00', which has a character that no text may have; take it out",
    ),
    "a second document": (
        GOOD + "---\nk: 2\n",
        "18: not YAML: expected a single document in the stream, but found another document; "
        "check the indentation and quotes here",
    ),
    "brackets without end": (
        GOOD + f"demo: {'[' * 40}{']' * 40}\n",
        "18: demo: is nested more than 30 levels deep; a manifest has five",
    ),
    "aliases that stand for a billion": (
        "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
        "1: its aliases stand for more than 100,000 values; use fewer",
    ),
    "a merge of a word": (
        change("  top_p: 0.9", "  <<: no"),
        "10: caption: '<<' takes a mapping, or a list of mappings",
    ),
    "captions that may not end": (
        change("top_p: 0.9", "max_length: 4"),
        "8: caption: min_length 5 is more than max_length 4; lower the one or raise the other",
    ),
    "a temperature of next to nothing": (
        change("top_p: 0.9", "temperature: 0.01"),
        "10: caption.temperature: found 0.01; must be at least 0.05",
    ),
    "beams that draw": (
        change("top_p: 0.9", "beams: 10\n  top_k: 5\n  temperature: 0.5"),
        "8: caption: beams 10 search for the likeliest texts, and nothing is drawn; leave out top_k and temperature",
    ),
    "one token to choose from": (
        change("top_p: 0.9", "top_k: 1"),
        "8: caption: top_k 1 leaves one token to choose, so that all candidates 10 would be the same; "
        "set candidates to 1, or raise top_k",
    ),
    "a mixture of no such source": (
        MIXED.replace("people: 1", "poeple: 1"),
        "31: pretrain.mixture.poeple: there is no such source to train on; these are web, people",
        "31: pretrain.mixture: has no share for people; give each of web, people its share",
    ),
    "a mixture of what is measured on": (
        MIXED.replace("people: 1", "people: 1, people_test: 1"),
        "31: pretrain.mixture.people_test: there is no such source to train on; these are web, people",
    ),
    "an empty mixture": (
        MIXED.replace("web: 2, people: 1", ""),
        "31: pretrain.mixture: has no share for web, people; give each of web, people its share",
    ),
    "a share of nothing": (
        MIXED.replace("people: 1", "people: -1"),
        "31: pretrain.mixture.people: found -1; must be at least 0",
    ),
    "a mixture of nothing": (
        MIXED.replace("web: 2, people: 1", "web: 0, people: 0"),
        "28: pretrain: mixture has 0 for every source, so that there is nothing to learn from; give one a share",
    ),
    "a measurement of nothing": (
        MIXED.replace("mixture: {web: 2, people: 1}", "holdout: 0\n  evaluate_every: 5"),
        "28: pretrain: evaluate_every measures on `holdout`, which is 0; leave it out, or hold images out",
    ),
    "a section that is a word": (
        change("select:\n  k: 2", "select: two"),
        '16: select: found "two"; must be a mapping of keys to values',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_manifest_gets_its_line(name, tmp_path):
    text, *expected = WRONG[name]
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_manifest(path)
    assert str(caught.value) == "\n".join(f"{path}:{line}" for line in expected)


def test_all_errors_of_a_file_are_told_at_once_in_its_order(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(change("top_p: 0.9", "topp: 0.9").replace("k: 2", "k: 0").replace("384", "no"))
    with pytest.raises(UserError) as caught:
        load_manifest(path)
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in str(caught.value).splitlines()] == ["7", "10", "17"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "no such file; name a manifest, for example manifests/quickstart.yaml"),
        (lambda path: path.mkdir(), "this is a folder; name the manifest, a YAML file"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not a text file; a manifest is YAML in UTF-8"),
    ],
)
def test_a_file_that_is_no_manifest(make, expected, tmp_path):
    path = tmp_path / "m.yaml"
    make(path)
    with pytest.raises(UserError) as caught:
        load_manifest(path)
    assert str(caught.value) == f"{path}: {expected}"


def step_of(manifest: Manifest, name: str) -> Step:
    (found,) = (step for step in manifest.steps if step.name == name)
    return found


def test_a_right_manifest_has_its_recipes_apart_from_its_run_options(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(change("  top_p: 0.9", "  top_p: 0.8\n  run: {actors: 4, gpus: 0.5}"))
    manifest = load_manifest(path)
    names = [step.name for step in manifest.steps]
    assert names == ["urls", "download", "annotate", "caption", "rank", "filter", "select"]
    step = step_of(manifest, "caption")
    assert step.recipe.model_dump()["top_p"] == 0.8
    assert (step.run.model_dump()["actors"], step.run.gpus) == (4, 0.5)
    assert type(step.recipe) is step.spec.recipe
    assert not {"run", "stage", "reads"} & set(step.recipe.model_dump())


def test_a_web_source_needs_no_captioner(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(change("caption:\n  model: Salesforce/blip-image-captioning-large\n  top_p: 0.9\n", ""))
    assert [step.name for step in load_manifest(path).steps][-3:] == ["rank", "filter", "select"]


def test_where_nothing_judges_the_webs_texts_a_training_takes_them_as_they_are(tmp_path):
    path, start = tmp_path / "m.yaml", "output: out\nsources:\n" + EVALUATED_WEB + "med: {tokenizer: google/bert}\n"
    path.write_text(start)
    assert [step.name for step in load_manifest(path).steps] == ["urls", "download", "annotate", "med"]
    path.write_text(start.replace("med:", "filter: {model: some/filter}\nselect: {k: null}\nmed:"))
    assert [step.name for step in load_manifest(path).steps][-3:] == ["filter", "select", "med"]
    path.write_text(start + "pretrain: {model: some/tower, tokenizer: google/bert}\n")
    with pytest.raises(UserError, match="select: found 2, but there is no 'rank' section above"):
        load_manifest(path)


def test_nothing_under_a_name_is_no_section(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(change("caption:", "hash:\ncaption:"))
    assert "hash" not in [step.name for step in load_manifest(path).steps]


def test_a_section_of_the_rounds_has_the_keys_of_the_one_above_of_its_name(tmp_path):
    path = tmp_path / "m.yaml"
    sections = "  caption: {seed: 7}\n  rank: {}\n  filter: {}\n  select: {k: 1}\n"
    path.write_text(GOOD + "rounds:\n  times: 2\n" + sections)
    manifest = load_manifest(path)
    first, again = (step_of(manifest, name).recipe.model_dump() for name in ("caption", "caption@2"))
    assert again == first | {"seed": 7}
    assert step_of(manifest, "caption@1").recipe == step_of(manifest, "caption@2").recipe
    assert step_of(manifest, "rank@1").recipe == step_of(manifest, "rank").recipe
    assert [step.name for step in manifest.steps][-8:] == [
        f"{section}@{number}" for number in (1, 2) for section in ("caption", "rank", "filter", "select")
    ]


PLAIN = {
    "an exponent without a point": ("top_p: 0.9", "temperature: 5e-1", "temperature", 0.5),
    "thousands": ("top_p: 0.9", "seed: 1_000", "seed", 1000),
    "a hexadecimal number": ("top_p: 0.9", "seed: 0xff", "seed", 255),
    "a date that is a name": ("top_p: 0.9", "revision: 2024-13-45", "revision", "2024-13-45"),
    "no, which is a word": ("top_p: 0.9", "prompt: no", "prompt", "no"),
    "the default key of YAML": ("top_p: 0.9", "prompt: =", "prompt", "="),
    "a number that is a text": ("top_p: 0.9", "revision: !!str 1e5", "revision", "1e5"),
    "a merge": ("caption:", "caption:\n  <<: {seed: 1, candidates: 7}\n  seed: 2", "seed", 2),
    "beams with the drawing as it is": ("top_p: 0.9", "beams: 10\n  top_p: 0.9", "beams", 10),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_words_mean_what_people_mean(name, tmp_path):
    old, new, key, expected = PLAIN[name]
    path = tmp_path / "m.yaml"
    path.write_text(change(old, new))
    found = step_of(load_manifest(path), "caption").recipe.model_dump()[key]
    assert (found, type(found)) == (expected, type(expected))


def test_a_key_is_a_text_whatever_it_says(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MIXED.replace("web", "no").replace("people_test", "2024-01-01"))
    assert list(load_manifest(path).sources) == ["no", "people", "2024-01-01"]


def test_a_mixture_that_names_every_source_is_right(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MIXED)
    assert step_of(load_manifest(path), "pretrain").recipe.model_dump()["mixture"] == {"web": 2, "people": 1}


def test_every_number_of_a_manifest_has_bounds():
    """Without them a slip of the pen is found by whatever library meets it first."""
    schema = document_type({"rounds": {}}).model_json_schema()
    assert set(STAGES) <= set(schema["properties"])
    without = [name for name, found in numbers(schema) if not BOUNDS.issubset(kinds(found))]
    assert without == []


BOUNDS = {"least", "most"}


def kinds(schema):
    names = {"minimum": "least", "exclusiveMinimum": "least", "maximum": "most", "exclusiveMaximum": "most"}
    return {names[key] for key in schema if key in names}


def numbers(schema, name=""):
    """(place, schema) of every number in a JSON schema."""
    if isinstance(schema, list):
        for part in schema:
            yield from numbers(part, name)
    elif isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield name, schema
        for key, part in schema.items():
            yield from numbers(part, f"{name}.{key}")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_our_own_manifests_are_right(path):
    assert load_manifest(path).sources


def test_there_is_a_manifest_for_every_published_list():
    assert {path.stem for path in MANIFESTS} >= {"quickstart", "laion", "cc3m", "cc12m", "sbu", "blip", "blip2"}


@pytest.mark.parametrize("path", WITHOUT_ROUNDS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "more", [{}, {"hash": {}, "dedup": {"near": 2}, "zero_filter": {"stage": "filter", "model": "x"}}]
)
def test_a_program_may_sort_its_sections(path, more, tmp_path):
    """As `yaml.safe_dump` does; the steps then are those of the file in a main job's order."""
    values = yaml.safe_load(path.read_text())
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(dict(sorted({**values, **more}.items())), sort_keys=False))
    order = list(STAGES)
    sections = sorted(
        {**values, **more}.items(), key=lambda item: order.index(stage_of(*item)) if stage_of(*item) else -1
    )
    (tmp_path / "right.yaml").write_text(yaml.safe_dump(dict(sections), sort_keys=False))
    found, right = (load_manifest(tmp_path / name) for name in ("m.yaml", "right.yaml"))
    edges = [
        {name: wired.reads for name, wired in wire(made.steps, made.uses).wires.items()} for made in (found, right)
    ]
    assert edges[0] == edges[1]
    assert {step.name for step in found.steps} == {step.name for step in right.steps} >= set(more)


def test_of_a_sorted_file_with_rounds_it_is_said_that_the_order_counts(tmp_path):
    values = yaml.safe_load(GOOD) | {"rounds": {"times": 1, "select": {}}}
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=True))
    with pytest.raises(UserError, match="rounds: where there are rounds, the order of the sections counts"):
        load_manifest(path)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    load_manifest(path)
