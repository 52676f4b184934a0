"""A chat template that came with somebody's adapter or base: tried in a child process before it is kept or rendered.

A template is a program. transformers runs it in Jinja's sandbox, which keeps it from files and from Python's insides
but not from looping for ever or filling the memory. So it is tried on a short conversation where both are limited.
A base's template is then rendered with every prompt; an adapter's never is, it is only kept and published again.
"""

import functools
import json
import subprocess
import sys

MAX_TEMPLATE_BYTES = 128 * 1024  # the longest of well-known models have about 20 KB
MAX_OUTPUT_CHARACTERS = 1_000_000
MEMORY_BYTES = 512 * 1024 * 1024
CPU_SECONDS = 2
BACKSTOP_SECONDS = 30  # wall clock, for a machine so busy that the child gets no processor time

# The environment of transformers' own renderer: same extensions, filter and functions, so that what passes here runs
# there. {% generation %} only marks text.
CHILD = """
import json, resource, sys
cpu, memory, most = (int(word) for word in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
try:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
except (ValueError, OSError):
    pass  # macOS has no such limit; the others hold
from datetime import datetime
import jinja2, jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

class Generation(jinja2.ext.Extension):
    tags = {"generation"}
    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)

def raise_exception(message):
    raise ValueError(message)

def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

task = json.load(sys.stdin)
environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
answer = {}
try:
    template = environment.from_string(task["template"])
    length = 0
    for piece in template.generate(
        messages=task["messages"], add_generation_prompt=True, tools=None, documents=None, bos_token="", eos_token=""
    ):
        length += len(piece)
        if length > most:
            answer = {"problem": f"writes more than {most:,} characters for two short messages"}
            break
except (MemoryError, RecursionError, OverflowError) as error:
    answer = {"problem": "needs too much memory for two short messages"}
except jinja2.TemplateSyntaxError as error:
    answer = {"problem": f"is not a valid template (line {error.lineno}: {error.message})"}
except jinja2.exceptions.SecurityError as error:
    answer = {"problem": "reaches for Python's insides"}
except Exception:
    pass  # it wants other roles or variables, which harms nobody
json.dump(answer, sys.stdout)
"""
SAMPLE = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello, how can I help?"}]


@functools.lru_cache(maxsize=8)
def template_problem(text: str) -> str:
    """Why a chat template had better not be rendered, as the end of a sentence, or "".

    It may be too long or no template, leave the sandbox, or need too much time, memory or output for two messages.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEMPLATE_BYTES:
        return f"has {size:,} bytes; at most {MAX_TEMPLATE_BYTES:,} are accepted"
    limits = [str(limit) for limit in (CPU_SECONDS, MEMORY_BYTES, MAX_OUTPUT_CHARACTERS)]
    try:
        result = subprocess.run(
            [sys.executable, "-P", "-c", CHILD, *limits],
            input=json.dumps({"template": text, "messages": SAMPLE}).encode(),
            capture_output=True,
            timeout=BACKSTOP_SECONDS,
        )
    except subprocess.TimeoutExpired:
        result = None
    if result is None or result.returncode < 0:  # killed by one of its limits
        return "needs too much time or memory for two short messages"
    if result.returncode == 0:
        return json.loads(result.stdout).get("problem", "")
    if b"MemoryError" in result.stderr:  # not even enough was left to report it
        return "needs too much memory for two short messages"
    raise RuntimeError(f"A chat template could not be tried: {result.stderr.decode(errors='replace')[-2000:]}")
