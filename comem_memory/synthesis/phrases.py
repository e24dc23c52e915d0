"""Ways to state, ask and answer that fit anything, in English; `splits.patterns_of` shares them out.

{n} is a name, {s} its possessive or "her", {p} "her", {a} the label of an attribute, {v} a value, {k} a kind of thing.
"""

from __future__ import annotations

UNKNOWN = (
    "I do not know, it is not in my memory",
    "I do not remember that",
    "My memory does not say",
    "That is not something I remember",
    "I have no memory of that",
)
STATEMENTS = (
    "the {a} of {n} is {v}",
    "{s} {a} is {v}",
    "{n} has {v} as {p} {a}",
    "as for {s} {a}, it is {v}",
    "{s} {a}: {v}",
)
QUESTIONS = (
    "What is the {a} of {n}?",
    "What is {n}'s {a}?",
    "Tell me the {a} of {n}.",
    "{n}: {a}?",
    "Give the {a} of {n}.",
)
OPENINGS = (
    "{n} is a {k}",
    "This is about {n}, a {k}",
    "Name: {n}. Type: {k}",
    "Note on {n}, a {k}",
    "Here is what is known of a {k}, {n}",
)
YES_OR_NO = (
    "Is it true that {s}?",
    "Is this right: {s}?",
    "Yes or no: {s}?",
    "Would you say that {s}?",
    "Can you confirm that {s}?",
)
WHICH = (
    "Which one has {v} as the {a}?",
    "For whom or what is {v} the {a}?",
    "Whose {a} is {v}?",
    "Name the one with {v} as {a}.",
    "With which of these is the {a} {v}?",
)
SCENES = (
    "What {ask} in the picture{of}?",
    "Look at the picture{of}: what {ask}?",
    "In the picture{of}, what {ask}?",
    "Say what {ask} in the picture{of}.",
    "As the picture{of} shows, what {ask}?",
)
SEEN = (
    "What does the picture{of} show?",
    "What is in the picture{of}?",
    "What do you see in the picture{of}?",
    "Describe the picture{of}.",
    "Of what is the picture{of}?",
)
SEEN_ANSWERS = (
    "The picture shows: {v}",
    "It is a picture of: {v}",
    "One sees: {v}",
    "In the picture: {v}",
    "It depicts: {v}",
)
SCENE_ANSWERS = (
    "The {v} {ask}",
    "It is the {v} that {ask}",
    "In the picture the {v} {ask}",
    "A {v} {ask}",
    "There the {v} {ask}",
)
