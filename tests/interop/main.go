// Command interop answers questions about notes, trees and proofs with the reference
// implementations: golang.org/x/mod/sumdb and github.com/transparency-dev/merkle.
//
// Each line of standard input is a JSON request, each line of standard output its answer. A request
// that the library refuses has the library's words in "error".
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// request holds the arguments of every operation; each uses a few of them.
type request struct {
	Op     string   `json:"op"`
	Note   []byte   `json:"note"`
	Text   string   `json:"text"`
	VKeys  []string `json:"vkeys"`
	SKeys  []string `json:"skeys"`
	Leaves [][]byte `json:"leaves"`
	Index  uint64   `json:"index"`
	Size   uint64   `json:"size"`
	Old    uint64   `json:"old"`
	Level  int      `json:"level"`
	Width  int      `json:"width"`
	Leaf   []byte   `json:"leaf"`
	Root   []byte   `json:"root"`
	OldRt  []byte   `json:"old_root"`
	Proof  [][]byte `json:"proof"`
}

type answer map[string]any

func main() {
	in := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	out := json.NewEncoder(os.Stdout)
	for {
		var req request
		if err := in.Decode(&req); err != nil {
			return
		}
		ans, err := handle(&req)
		if err != nil {
			ans = answer{"error": err.Error()}
		}
		if err := out.Encode(ans); err != nil {
			return
		}
	}
}

func handle(req *request) (answer, error) {
	switch req.Op {
	case "open_note":
		return openNote(req)
	case "sign_note":
		return signNote(req)
	case "format_tree":
		return formatTree(req)
	case "parse_tree":
		tree, err := tlog.ParseTree([]byte(req.Text))
		return answer{"size": tree.N, "root": tree.Hash[:]}, err
	case "tile_path":
		tile := tlog.Tile{H: 8, L: req.Level, N: int64(req.Index), W: req.Width}
		// This library puts the tile height into the path; tlog-tiles fixed it at 8.
		return answer{"path": strings.Replace(tile.Path(), "tile/8/", "tile/", 1)}, nil
	case "tree":
		return tree(req)
	case "verify_inclusion":
		return answer{}, proof.VerifyInclusion(
			rfc6962.DefaultHasher, req.Index, req.Size, req.Leaf, req.Proof, req.Root)
	case "verify_consistency":
		return answer{}, proof.VerifyConsistency(
			rfc6962.DefaultHasher, req.Old, req.Size, req.Proof, req.OldRt, req.Root)
	}
	return nil, fmt.Errorf("unknown operation %q", req.Op)
}

func openNote(req *request) (answer, error) {
	var verifiers []note.Verifier
	for _, vkey := range req.VKeys {
		verifier, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, verifier)
	}
	opened, err := note.Open(req.Note, note.VerifierList(verifiers...))
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, signature := range opened.Sigs {
		names = append(names, signature.Name)
	}
	return answer{"text": opened.Text, "names": names}, nil
}

func signNote(req *request) (answer, error) {
	var signers []note.Signer
	for _, skey := range req.SKeys {
		signer, err := note.NewSigner(skey)
		if err != nil {
			return nil, err
		}
		signers = append(signers, signer)
	}
	signed, err := note.Sign(&note.Note{Text: req.Text}, signers...)
	return answer{"note": signed}, err
}

func formatTree(req *request) (answer, error) {
	var hash tlog.Hash
	copy(hash[:], req.Root)
	return answer{"text": string(tlog.FormatTree(tlog.Tree{N: int64(req.Size), Hash: hash}))}, nil
}

// memory is a tlog.HashReader over the hashes of a tree that was just built.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = m[index]
	}
	return hashes, nil
}

// tree builds a tree over req.Leaves; it gives the root, and the proofs for req.Index and req.Old.
func tree(req *request) (answer, error) {
	var stored memory
	for i, leaf := range req.Leaves {
		hashes, err := tlog.StoredHashes(int64(i), leaf, stored)
		if err != nil {
			return nil, err
		}
		stored = append(stored, hashes...)
	}
	size := int64(len(req.Leaves))
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		return nil, err
	}
	record, err := tlog.ProveRecord(size, int64(req.Index), stored)
	if err != nil {
		return nil, err
	}
	prefix, err := tlog.ProveTree(size, int64(req.Old), stored)
	if err != nil {
		return nil, err
	}
	return answer{"root": root[:], "inclusion": raw(record), "consistency": raw(prefix)}, nil
}

func raw(hashes []tlog.Hash) [][]byte {
	list := [][]byte{}
	for _, hash := range hashes {
		list = append(list, append([]byte(nil), hash[:]...))
	}
	return list
}
