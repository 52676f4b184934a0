from medley.jobs.merge_inputs import input_warnings, trained_on


def test_inputs_trained_alike_need_no_word() -> None:
    known = {"a:v1": {"trained_on": "bf16", "template_hash": "t"}, "b:v1": {"trained_on": "bf16"}, "folder": {}}
    assert input_warnings(known) == []
    assert trained_on(known) == "bf16"


def test_four_bits_beside_sixteen() -> None:
    known = {"a:v1": {"trained_on": "nf4"}, "b:v1": {"trained_on": "bf16"}}
    assert input_warnings(known) == [
        "'a:v1' learned on the base in 4 bits (NF4), 'b:v1' on bf16: their deltas correct slightly different weights. "
        "On the base in 16 bits the 4-bit part acts a little differently than it was trained; compare the result with "
        "its parents."
    ]
    assert trained_on(known) == "bf16+nf4"


def test_four_bits_alone_and_a_merge_of_such() -> None:
    assert input_warnings({"a:v1": {"trained_on": "nf4"}, "b:v1": {"trained_on": "bf16+nf4"}}) == [
        "'a:v1' and 'b:v1' learned on the base in 4 bits (NF4). Use the result on the base in 4 bits (--quant 4bit) to "
        "have what was trained; in 16 bits its answers differ slightly."
    ]
    assert trained_on({"a:v1": {"trained_on": "nf4"}, "b:v1": {"trained_on": "bf16+nf4"}}) == "bf16+nf4"


def test_templates_and_weights_of_the_base() -> None:
    known = {
        "a:v1": {"template_hash": "1", "base_weights_digest": "x"},
        "b:v1": {"template_hash": "2", "base_weights_digest": "y"},
        "c:v1": {},
    }
    assert input_warnings(known) == [
        "'a:v1' and 'b:v1' were trained with different chat templates; the result will see only one of them.",
        "'a:v1' and 'b:v1' were trained on bases of one name whose weights differ (another conversion or another "
        "download), so their deltas do not quite belong together.",
    ]
    assert trained_on({"c": {}}) is None
