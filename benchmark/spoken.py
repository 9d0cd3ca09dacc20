"""Makes the texts of different recognisers comparable: lower case, no punctuation, numbers as words."""

from __future__ import annotations

import re

ONES = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spoken(text: str) -> str:
    """The words of an English text, as somebody would say them."""
    text = re.sub(r"\bmr\b\.?", "mister", text.lower())
    text = re.sub(r"\d+", lambda digits: f" {number(digits[0])} ", text)
    return " ".join(re.findall(r"[a-z']+", text))


def number(digits: str) -> str:
    """A whole number below 1,000 in words, a longer one digit by digit."""
    value = int(digits)
    if value < 20:
        return ONES[value]
    if value < 100:
        rest = f" {ONES[value % 10]}" if value % 10 else ""
        return TENS[value // 10 - 2] + rest
    if value < 1000:
        rest = f" {number(str(value % 100))}" if value % 100 else ""
        return f"{ONES[value // 100]} hundred{rest}"
    return " ".join(ONES[int(digit)] for digit in digits)
