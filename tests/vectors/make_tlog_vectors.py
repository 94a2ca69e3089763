"""Writes the golden vectors of tests/vectors/tlog: fixed keys in, the same bytes out every time.

Run it at the top of the repository: `python -m tests.vectors.make_tlog_vectors [FOLDER]`.
"""

import json
import sys
from pathlib import Path

from audit.tlog.keys import Ed25519Signer, derive_seed
from audit.tlog.merkle import root_of
from audit.tlog.tiles import tile_path
from tests.vectors.tlog_common import HASHES, LOG, ORIGIN, OTHER, ROTATED, Case, b64
from tests.vectors.tlog_notes import checkpoints, notes
from tests.vectors.tlog_proofs import consistency, inclusion

FOLDER = Path(__file__).parent / "tlog"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, cases in (
        ("keys", keys()),
        ("trees", trees()),
        ("notes", notes()),
        ("checkpoints", checkpoints()),
        ("inclusion", inclusion()),
        ("consistency", consistency()),
    ):
        text = json.dumps(cases, indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_text(text)


def keys() -> list[Case]:
    return [
        {
            "name": signer.name,
            "seed": seed.hex(),
            "vkey": signer.verifier.vkey,
            "signature_of_empty": signer.sign(b"").hex(),
        }
        for signer, seed in (
            (LOG, bytes(range(32))),
            (OTHER, bytes(range(32, 64))),
            (ROTATED, bytes(range(64, 96))),
            *(
                (Ed25519Signer.from_seed(origin, seed), seed)
                for origin in (f"{ORIGIN}/orders/0", f"{ORIGIN}/orders/1")
                for seed in [derive_seed(bytes(range(32)), origin)]
            ),
        )
    ]


def trees() -> list[Case]:
    roots: list[Case] = [
        {"name": f"size {size}", "size": size, "root": b64(root_of(HASHES[:size]))}
        for size in (0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 255, 256, 257, 300)
    ]
    paths: list[Case] = [
        {"name": path, "level": level, "index": index, "width": width}
        for level, index, width in (
            (0, 0, 256), (0, 0, 1), (0, 999, 255), (0, 1000, 256), (1, 1234067, 17), (63, 0, 256),
            (0, 2**55 - 1, 256),
        )
        for path in [tile_path(level, index, width)]
    ]  # fmt: skip
    return roots + paths


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
