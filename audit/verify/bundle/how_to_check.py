"""The text in every bundle that says how to check it without this software."""

HOW_TO_CHECK_TEXT = '''\
attestory-bundle/v1: HOW TO CHECK THIS FILE WITHOUT THE SOFTWARE THAT MADE IT

What is in here
  entries.avro            the entries (an Avro object container file: any Avro tool reads it)
  checkpoints/<log>.note  the signed statement: this log has so many entries with this root hash
  schemas/<sha256>.avsc   the schemas, named by their SHA-256; entry.v1 describes the field `leaf`
  manifest.json           a table of contents. It is not signed and proves nothing by itself.

What you need
  The log's public key, a line like  example.com/log+1a2b3c4d+ATx...=
  It must have reached you another way than this file: a key in here proves nothing.

What is checked
  1. The checkpoint is signed with the log's key (Ed25519 over the text up to the blank line).
  2. For each entry: SHA-256(0x00 || leaf), combined with the hashes of its proof (RFC 6962,
     section 2.1.1), gives the root hash of the checkpoint, at exactly its index.
  So each entry is, bit for bit, what the log recorded at that position.

What is not proven
  That no other entries match the query; that nothing was recorded later; that what the entries say
  is true.

With several logs, repeat all of it with the key of each.

By hand, with OpenSSL (the first step, for log 0)
  unzip FILE.zip checkpoints/0.note
  sed '/^$/,$d' checkpoints/0.note > text
  tail -1 checkpoints/0.note | cut -d' ' -f3 | base64 -d | tail -c 64 > signature
  (printf '302a300506032b6570032100' | xxd -r -p; printf %s 'KEY' | cut -d+ -f3- | base64 -d \\
      | tail -c 32) > key.der       # KEY is the whole line of the public key
  openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in text -sigfile signature

With Python 3 and the package `cryptography` (everything; save as check.py)
  python3 check.py FILE.zip 'KEY'

--- check.py ---
import base64, hashlib, io, sys, zipfile, zlib
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def sha(data):
    return hashlib.sha256(data).digest()

bundle = zipfile.ZipFile(sys.argv[1])
name, key_id, key = sys.argv[2].split("+", 2)
key = base64.b64decode(key)[1:]                      # after the type byte: the 32-byte key

# 1. checkpoints
trees = {}
for member in bundle.namelist():
    if member.startswith("checkpoints/"):
        note = bundle.read(member).decode()
        text, signatures = note[: note.rindex("\\n\\n") + 1], note[note.rindex("\\n\\n") + 2 :]
        lines = [s for s in signatures.split("\\n") if s.startswith("\\u2014 " + name + " ")]
        if not lines:
            print("not checked, because it is signed by another key:", member)
            continue
        signature = base64.b64decode(lines[0].split(" ")[2])
        if signature[:4].hex() != key_id:
            sys.exit("the checkpoint is signed by another key")
        Ed25519PublicKey.from_public_bytes(key).verify(signature[4:], text.encode())  # or it raises
        origin, size, root = text.split("\\n")[:3]
        if origin != name:
            sys.exit("the checkpoint is of another log")
        trees[int(member[12:-5])] = int(size), base64.b64decode(root)
        print("signed:", origin, "has", size, "entries")

# 2. entries
data = io.BytesIO(bundle.read("entries.avro"))

def number(file):
    value = shift = 0
    while True:
        byte = file.read(1)[0]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return (value >> 1) ^ -(value & 1)

def root_of(leaf, index, size, proof):
    """RFC 9162, section 2.1.3.2"""
    node, last = sha(b"\\x00" + leaf), size - 1
    assert 0 <= index < size
    for other in proof:
        assert last > 0
        if index % 2 or index == last:
            node = sha(b"\\x01" + other + node)
            while index % 2 == 0:
                index, last = index >> 1, last >> 1
        else:
            node = sha(b"\\x01" + node + other)
        index, last = index >> 1, last >> 1
    assert last == 0
    return node

assert data.read(4) == b"Obj\\x01"
header = {}
while count := number(data):
    for _ in range(count):
        header_name = data.read(number(data))
        header[header_name] = data.read(number(data))
sync = data.read(16)
checked = others = 0
while start := data.read(1):
    data.seek(-1, 1)
    count, length = number(data), number(data)
    block = data.read(length)
    assert data.read(16) == sync
    if header[b"avro.codec"] == b"deflate":
        block = zlib.decompress(block, -15)
    block = io.BytesIO(block)
    for _ in range(count):
        log, index = number(block), number(block)
        leaf = block.read(number(block))
        proof = []
        while hashes := number(block):
            proof += [block.read(32) for _ in range(hashes)]
        if log not in trees:
            others += 1
            continue
        size, root = trees[log]
        if root_of(leaf, index, size, proof) != root:
            sys.exit(f"entry {log}/{index} is not what the log recorded")
        checked += 1
print("checked:", checked, "entries, all of them genuine")
if others or not checked:
    sys.exit(f"not checked: {others} entries of logs with other keys")
'''
