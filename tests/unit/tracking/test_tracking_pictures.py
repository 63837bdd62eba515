from kinoray.tracking.pictures import shortened


def test_long_names_keep_what_tells_them_apart() -> None:
    names = [f"pretending to put something {place} something" for place in ("behind", "next to")]
    short = [shortened(name, 40) for name in names]
    assert len(set(short)) == 2
    assert all(len(name) <= 40 for name in short)
    assert shortened("pretending to turn something upside down", 20) == "pretending to…e down"
    assert shortened("a" * 20, 20) == "a" * 20
