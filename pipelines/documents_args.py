"""The flags of the commands about documents."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.pipelines.flags import Base, JobArgs, flag, workspace

_INDEX = "sqlite:///data/db/documents.sqlite"


@dataclass(frozen=True, kw_only=True)
class Documents(JobArgs):
    """Rebuild an index of documents and a folder for each, from the CSVs of historical generations."""

    cross_root: str = flag("Folder of the CSVs; default: data/7_cross_experiment.", "data/7_cross_experiment")
    gen_root: tuple[str, ...] = flag(
        "Folder that response_file is relative to; the first that has the file wins (repeatable); "
        "default: data/3_generation.", ()
    )  # fmt: skip
    docs_root: str = flag("Folder of the documents; default: data/docs.", "data/docs")
    db: str = flag(f"SQLAlchemy URL of the index; default: {_INDEX}.", _INDEX)
    bad_list: str | None = flag("CSV of the rows that became no document; default: bad_generations.csv beside theirs.")
    strict: bool = flag("Write no document if any row is refused for more than its duplicate bytes; exit 3.", False)
    workspace: str | None = workspace()


@dataclass(frozen=True, kw_only=True)
class IndexArgs(Base):
    """Flags of every command that looks at the index."""

    db: str = flag(f"SQLAlchemy URL of the index; default: {_INDEX}.", _INDEX)


@dataclass(frozen=True, kw_only=True)
class DocumentsShow(IndexArgs):
    """Show one document: its row in the index."""

    doc_id: str = flag("Id of the document.", "", positional=True)
    json: bool = flag("Print JSON.", False)


@dataclass(frozen=True, kw_only=True)
class DocumentsLineage(IndexArgs):
    """Show the parents and children of a document as a tree."""

    doc_id: str = flag("Id of the document.", "", positional=True)
    json: bool = flag("Print JSON.", False)


@dataclass(frozen=True, kw_only=True)
class DocumentsFind(IndexArgs):
    """List the documents that have given values, the latest first."""

    stage: str | None = flag("Only this stage.", choices=("draft", "essay", "evaluation"))
    model: str | None = flag("Only this model.")
    template: str | None = flag("Only this template.")
    task: str | None = flag("Only this task id.")
    limit: int | None = flag("Print only the first N.", minimum=1)
    json: bool = flag("Print JSON.", False)


@dataclass(frozen=True, kw_only=True)
class DocumentsReport(IndexArgs):
    """Write what is latest in an index of documents, and whether it and its folders agree; exit 3 if they do not."""

    docs_root: str = flag("Folder of the documents; default: data/docs.", "data/docs")
    out: str | None = flag("Folder to write.", required=True)
    dry_run: bool = flag("Decide and report, but write to no store and no database.", False)
