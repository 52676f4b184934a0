"""The twelve mistakes that spoil a fine-tuning without a word, and what becomes of each here.

One visible table: the Data page, `medley data check` and docs/data.md are drawn from it. `medley.corpus.checks` counts
those that rows and tokens can show; the others are excluded by how we train, or checked by the trainer itself.
"""

from dataclasses import dataclass
from typing import Literal

Where = Literal["import", "tokens", "training", "design"]
WHERE_WORDS: dict[Where, str] = {
    "import": "when rows are read",
    "tokens": "when rows become tokens",
    "training": "when it trains",
    "design": "excluded by design",
}


@dataclass(frozen=True)
class Mistake:
    """A row of the table.

    Attributes:
        number: 1 to 12.
        name: a few words.
        harm: what goes wrong when nobody notices.
        rule: what is counted, and whether it is refused, repaired or told.
        where: when that happens.
        proof: the test that shows it, as file::function below tests/.
    """

    number: int
    name: str
    harm: str
    rule: str
    where: Where
    proof: str


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        1, "no chat template",
        "The model learns a form of text that nobody uses afterwards.",
        "Refused: a base without a chat template trains nothing. The template's digest is kept with every adapter.",
        "tokens", "corpus/test_checks.py::test_a_base_without_a_template_is_refused",
    ),
    Mistake(
        2, "answers that never end",
        "Without a trained end token the model does not learn to stop.",
        "Counted and told: answers whose last trained token does not end the turn.",
        "tokens", "corpus/test_tokens.py::test_an_answer_that_never_ends_is_noticed",
    ),
    Mistake(
        3, "loss on prompts",
        "The model learns to ask the questions, and short answers hardly count.",
        "Excluded: only assistant turns of the answer are trained. Rows with a trained prompt token are counted; 0.",
        "design", "corpus/test_tokens.py::test_the_masked_prefix_is_the_prompt_of_inference",
    ),
    Mistake(
        4, "silent truncation",
        "Long rows lose their end, or vanish, and the rest is another dataset.",
        "Counted and told: rows cut at max_length, and rows left out because nothing of an answer remains. Reward "
        "models leave out pairs with a side that is too long.",
        "tokens", "corpus/test_checks.py::test_truncation_is_counted_for_every_kind",
    ),
    Mistake(
        5, "a template's marks twice",
        "The template writes them, and the tokenizer or the text brings others: a form that is never seen in use.",
        "Excluded: rendered text is tokenised without adding anything; rows that begin with two begin tokens are "
        "counted. Refused: rows whose texts hold marks already are left out, and a file with more than 5 % of them "
        "is not imported. Rows that hold the base's own special tokens are counted and told.",
        "import", "corpus/test_chat_marks.py::test_rows_with_marks_are_left_out_and_told",
    ),
    Mistake(
        6, "end token masked as padding",
        "Where padding is the end token, masking by token takes the end out of the loss.",
        "Excluded: labels come from positions. Rows that end with the padding token are counted, and all are trained.",
        "design", "corpus/test_checks.py::test_padding_that_is_the_end_token_stays_trained",
    ),
    Mistake(
        7, "packing",
        "Rows packed into one sequence see each other, or are cut, and steps are no longer rows.",
        "Excluded: one row is one sequence. Batches of similar length save the padding instead.",
        "design", "trainers/test_sft.py::test_the_first_loss_is_the_cross_entropy_of_the_trained_tokens",
    ),
    Mistake(
        8, "a token across the border",
        "Prompt and answer melt into one token, so that the trained prompt is not the one of use.",
        "Repaired and counted: such rows are tokenised piece by piece, as in use.",
        "tokens", "corpus/test_tokens.py::test_a_border_inside_a_token_is_tokenised_as_in_use",
    ),
    Mistake(
        9, "a system turn nobody wrote",
        "The template adds its own; rows with one and rows without are then taught in different ways.",
        "Counted: rows to which it is added. Told, when other rows bring their own.",
        "tokens", "corpus/test_checks.py::test_a_system_turn_of_the_template_is_counted",
    ),
    Mistake(
        10, "trained weights that are not saved",
        "A score head, or the rows of new tokens, stays behind, and is random when loaded.",
        "Excluded: a reward model's head is in its adapter and compared after loading; no trainer adds tokens.",
        "training",
        "trainers/test_reward.py::test_it_learns_and_plain_peft_and_our_scorer_agree_with_what_was_measured",
    ),
    Mistake(
        11, "the wrong reference",
        "Preferences are learned against the base instead of the adapter that training started from.",
        "Excluded: the adapter named by --from is the frozen reference, and its lineage says so.",
        "training", "trainers/test_dpo.py::test_the_reference_is_the_adapter_to_start_from_and_not_the_base",
    ),
    Mistake(
        12, "a rate far off, or a test that leaks",
        "A full fine-tuning's rate teaches an adapter nothing; eval rows known from training measure nothing.",
        "Told: a rate more than 10 times off the usual one. Refused by construction: one question on both sides of "
        "the split. Counted and told: near duplicates and runs of 13 words across it.",
        "import", "corpus/test_import.py::test_one_prompt_is_never_on_both_sides",
    ),
)  # fmt: skip


def as_markdown() -> str:
    """The table as it stands in docs/data.md."""
    head = "| | mistake | what goes wrong | rule here | when |\n|---|---|---|---|---|\n"
    rows = (
        f"| {each.number} | {each.name} | {each.harm} | {each.rule} | {WHERE_WORDS[each.where]} |" for each in MISTAKES
    )
    return head + "\n".join(rows) + "\n"
