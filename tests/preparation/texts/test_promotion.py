"""Tests the rule for promotion."""

import pytest

from mulan.preparation.texts.promotion import remove_promotion
from mulan.preparation.texts.rule import TextContext

CONTEXT = TextContext()

PROMOTION = [
    "Subscribe for more!",
    "SUBSCRIBE",
    "Don't forget to like, comment and subscribe",
    "Like and share if you enjoy",
    "Follow me on Instagram",
    "Follow us on Facebook and Twitter:",
    "Find Anna Lund on Spotify",
    "Link in bio",
    "Links in the description below",
    "Copyright 2019 Some Records",
    "All rights reserved.",
    "I do not own this music",
    "Provided to YouTube by DistroKid",
    "Free download",
    "Download it for free",
    "Download the album here",
    "Stream now",
    "Stream our new single on Spotify",
    "Buy the album here",
    "Get it on iTunes",
    "Out now on all platforms",
    "Pre-order the vinyl",
    "Hit the bell button",
    "Turn on notifications",
    "For business inquiries contact",
    "Booking: agency",
    "Official merch",
    "Instagram: annalund",
    "Check out my channel",
    "Thumbs up if you listen in 2024",
    "¡Suscríbete a mi canal!",
    "Sígueme en Instagram",
    "Inscreva-se no canal",
    "Abonnez-vous à la chaîne",
    "Jetzt streamen",
    "Folgt uns auf Instagram",
    "Iscriviti al canale",
    "Kanala abone olun",
    "Подписывайтесь на канал",
    "チャンネル登録お願いします",
    "구독과 좋아요",
    "记得订阅",
]
MUSICAL = [
    "Follow Me",
    "Follow the Leader",
    "I will follow you into the dark",
    "Download",
    "Stream of Consciousness",
    "a gentle stream on a summer day",
    "Buy Me a Coffee Blues",
    "Get Out Now",
    "Like a Rolling Stone",
    "sounds like if a machine were singing",
    "The bell rings twice before the drums enter",
    "Listen to the rain",
    "The link between jazz and blues",
    "Share the Land",
    "Right Here, Right Now",
    "Booking a flight",
    "The right hand follows the melody on the piano",
]


@pytest.mark.parametrize("text", PROMOTION)
def test_promotion_is_removed(text: str) -> None:
    assert remove_promotion(text, CONTEXT) == [""]
    assert remove_promotion(f"A slow waltz.\n{text}", CONTEXT) == ["A slow waltz."]
    assert remove_promotion(f"Slow Waltz | {text}", CONTEXT) == ["Slow Waltz"]


@pytest.mark.parametrize("text", MUSICAL)
def test_musical_texts_with_the_same_words_stay(text: str) -> None:
    assert remove_promotion(text, CONTEXT) == [text]


def test_other_sentences_and_lines_stay() -> None:
    text = "The guitar is warm. Subscribe for more! Brushes play a swing.\nFollow me on Twitter\nA walking bass."
    assert remove_promotion(text, CONTEXT) == ["The guitar is warm. Brushes play a swing.\nA walking bass."]
