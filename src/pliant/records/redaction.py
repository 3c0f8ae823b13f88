"""Secrets taken out of what is told or kept: errors quote addresses, headers and settings that hold them."""

import os
import re

_SECRET_NAME = re.compile(r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|KEY|PAT)(?:_|$)", re.IGNORECASE)
_SHORTEST = 8
"""A shorter value is a switch, or a word that text may hold by chance."""
_FORMS = (
    # user:password@ of an address
    (re.compile(r"(?<=://)[^\s/@'\"]+@"), "***@"),
    # headers
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\1 ***"),
    # tokens that begin with the name of who gave them
    (re.compile(r"\b(hf_|api_org_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abp]-)[A-Za-z0-9_-]{8,}"), r"\1***"),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}"), r"\1***"),
    # signed addresses
    (
        re.compile(
            r"([?&](?:x-amz-[a-z-]+|awsaccesskeyid|access_?token|token|signature|sig|secret|password|key-pair-id|policy)=)"
            r"[^&\s'\"]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
)


def redacted(text: str) -> str:
    """`text` with `***` for what looks like a secret, and for whatever a variable of the environment called a token,
    secret, password, key or credential holds."""
    if not text:  # asked for every cell, and few have an error
        return text
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text
