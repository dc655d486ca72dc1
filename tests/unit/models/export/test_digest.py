from models.export.digest import digest, digests

# Of FIPS 180-2, appendix B.1.
SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digest_is_sha256_and_size(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    found = digest(tmp_path / "file")
    assert (found.sha256, found.bytes) == (SHA256_OF_ABC, 3)


def test_digests_are_in_alphabetical_order(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(name.encode())
    assert list(digests(tmp_path, ("c", "b", "a"))) == ["a", "b", "c"]
