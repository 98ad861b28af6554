"""Messages for whoever pushed, laid out as upstream lays them out."""

from __future__ import annotations

from praefect.node.hooks.messages import Message, MessageKind, render


def test_basic_message() -> None:
    assert render(Message(kind=MessageKind.BASIC, text="Hello")) == b"\nHello\n\n"


def test_alert_is_wrapped_and_centred_between_banners() -> None:
    text = "word " * 20
    lines = render(Message(kind=MessageKind.ALERT, text=text)).decode().split("\n")
    assert lines[0] == ""
    assert lines[1] == lines[-3] == "=" * 72
    assert lines[2] == lines[-4] == ""
    assert lines[-2:] == ["", ""]
    body = lines[3:-4]
    assert [line.strip() for line in body] == [" ".join(["word"] * 13), " ".join(["word"] * 7)]
    assert body[0].startswith("    word")
    assert body[1] == " " * 19 + " ".join(["word"] * 7)


def test_long_word_is_not_cut() -> None:
    word = "x" * 100
    assert word in render(Message(kind=MessageKind.ALERT, text=f"a {word} b")).decode().split("\n")
