"""Transparency-log primitives, pure bytes and integers: Merkle tree, proofs, tiles, notes, keys."""
