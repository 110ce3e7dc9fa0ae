"""The in-toto export, against the published definitions.

`in_toto_statement.schema.json` holds the rules of github.com/in-toto/attestation (spec/v1/statement.md,
resource_descriptor.md, digest_set.md; go/predicates/provenance/v1/provenance.go) and slsa.dev/provenance/v1 as JSON
schema; the package in-toto-attestation has the protocol buffers of both, which take no unknown field, and validators.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from clips import pair
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from recovering import tree

from resplice.io import rehash
from resplice.pipelines.__main__ import main
from resplice.transforms import attestation
from resplice.transforms.records import UserError

SCHEMA = json.loads(Path(__file__).with_name("in_toto_statement.schema.json").read_text("utf-8"))
CHECK = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def checked(statement: dict[str, Any]) -> None:
    """Raise unless a statement is what the published definitions say."""
    CHECK.validate(statement)
    Statement.copy_from_pb(json_format.ParseDict(statement, statement_pb2.Statement())).validate()
    json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of one pair; tests only read it."""
    folder = tmp_path_factory.mktemp("made")
    pair(folder / "n")
    words = ["--data-root", str(folder / "n"), "--out", str(folder / "n.parquet"), "--workspace", str(folder / "w")]
    assert main(["corpus", "full-features", "--quiet", *words]) == 0
    return folder / "n.parquet.manifest.json"


def exported(file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["manifest", "export", str(file), "--format", "in-toto"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    return value


def test_an_export_is_a_statement_with_a_predicate_of_slsa_provenance(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(made.parent)
    statement = exported(made, capsys)
    checked(statement)
    sidecar = json.loads(made.read_text("utf-8"))
    (subject,) = statement["subject"]
    assert subject["digest"] == {"sha256": sidecar["run_provenance"]["outputs"]["parquet"]["sha256"]}
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"]["argv"] == sidecar["run_provenance"]["argv"]
    named = {each["name"]: each["digest"] for each in build["resolvedDependencies"]}
    tree_ = sidecar["run_provenance"]["inputs"]["data_root"]["tree_sha256"]
    assert named["inputs.data_root"] == {attestation.TREE: tree_} and "inputs.vmaf_bin" in named
    run = statement["predicate"]["runDetails"]
    assert run["metadata"]["startedOn"] == sidecar["process_started_at"] < run["metadata"]["finishedOn"]
    assert run["builder"]["version"]["libvmaf"] == sidecar["tools"]["libvmaf"]
    assert tree(made.parent) == before


def test_every_sidecar_of_a_recovery_can_be_exported(recovered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(recovered.workspace.rglob("*.manifest.json"))
    kinds = {json.loads(file.read_text("utf-8"))["schema"]: file for file in files}
    assert len(kinds) == 5
    for file in kinds.values():
        checked(exported(file, capsys))


@pytest.mark.parametrize("lost", ["_type", "subject", "predicateType", "digest", "buildType", "builder", "id", "argv"])
def test_the_check_itself_finds_what_is_missing(made: Path, capsys: pytest.CaptureFixture[str], lost: str) -> None:
    statement = copy.deepcopy(exported(made, capsys))
    predicate = statement["predicate"]
    holder = {
        "digest": statement["subject"][0],
        "buildType": predicate["buildDefinition"],
        "builder": predicate["runDetails"],
        "id": predicate["runDetails"]["builder"],
        "argv": predicate["buildDefinition"]["externalParameters"],
    }.get(lost, statement)
    if lost == "argv":
        holder.clear()
    else:
        del holder[lost]
    with pytest.raises(jsonschema.ValidationError):
        checked(statement)


def test_outputs_that_were_not_there_are_nothing_to_attest() -> None:
    sidecar = {"schema": "x", "run_provenance": {"outputs": {"a": {"path": "a", "exists": False, "kind": "missing"}}}}
    with pytest.raises(UserError, match="no output"):
        attestation.statement(sidecar, [], rehash.entries(sidecar["run_provenance"]["outputs"], "outputs"))


def test_the_times_are_of_the_process_that_wrote_the_artifact() -> None:
    said = {"path": "a", "exists": True, "kind": "file", "sha256": "0" * 64}
    times = {"started_at": "2026-01-01T00:00:00.000Z", "process_started_at": "2026-02-01T00:00:00.000Z"}
    sidecar = {"schema": "x", "run_provenance": {}, **times, "elapsed_s": 5.0}
    metadata = attestation.statement(sidecar, [], [("outputs.a", said)])["predicate"]["runDetails"]["metadata"]
    assert metadata["startedOn"] == "2026-02-01T00:00:00.000Z"
    assert metadata["finishedOn"] == "2026-02-01T00:00:05.000Z"
