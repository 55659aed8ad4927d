"""What users of the `openai` package for Python do. Arguments: base URL, key, model, model that calls a
tool, model that takes its time, a fresh idempotency key."""
import sys

import openai
from openai import OpenAI

url, key, model, tooled, slowly, idempotency_key = sys.argv[1:7]
client = OpenAI(base_url=url, api_key=key, max_retries=0)
messages = [{"role": "user", "content": "Ahoy there"}]
tools = [{"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]

# Chat: streamed, whole, with usage and with tools.
chunks = list(client.chat.completions.create(
    model=model, messages=messages, stream=True, stream_options={"include_usage": True}))
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert "Ahoy there" in text, text
assert chunks[-1].usage.prompt_tokens == 2, chunks[-1]
whole = client.chat.completions.create(model=model, messages=messages)
assert whole.choices[0].message.content == text, whole
assert whole.usage.total_tokens == chunks[-1].usage.total_tokens
called = client.chat.completions.create(model=tooled, messages=messages, tools=tools)
call = called.choices[0].message.tool_calls[0]
assert (call.function.name, called.choices[0].finish_reason) == ("weather", "tool_calls"), called
with client.chat.completions.stream(model=tooled, messages=messages, tools=tools) as stream:
    final = stream.get_final_completion()
streamed = final.choices[0].message.tool_calls[0]
assert streamed.function.arguments == call.function.arguments, final

# Embeddings and models.
vector = client.embeddings.create(model=model, input="Ahoy").data[0].embedding
assert len(vector) == 8
plain = client.embeddings.create(model=model, input="Ahoy", encoding_format="float").data[0].embedding
assert all(abs(a - b) < 1e-6 for a, b in zip(vector, plain))
assert model in [m.id for m in client.models.list()]
assert client.models.retrieve(model).id == model

# Responses: whole, streamed, with tools, gone on from, in the background, resumed, cancelled, forgotten.
response = client.responses.create(model=model, input="Ahoy there", instructions="be brief")
assert response.status == "completed" and "Ahoy there" in response.output_text, response
assert response.usage.input_tokens == 4 and response.usage.output_tokens > 0, response.usage
assert client.responses.retrieve(response.id).output_text == response.output_text
events = list(client.responses.create(model=model, input="Ahoy there", stream=True))
assert events[0].type == "response.created" and events[-1].type == "response.completed"
text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
assert text == response.output_text == events[-1].response.output_text
numbers = [e.sequence_number for e in events]
assert numbers == sorted(set(numbers)), numbers
with client.responses.stream(model=model, input="Ahoy there") as stream:
    for event in stream:
        pass
    assert stream.get_final_response().output_text == text
function = {"type": "function", "name": "weather", "parameters": tools[0]["function"]["parameters"]}
first = client.responses.create(model=tooled, input="Ahoy", tools=[function])
call = next(item for item in first.output if item.type == "function_call")
assert call.name == "weather", first
events = list(client.responses.create(model=tooled, input="Ahoy", tools=[function], stream=True))
done = next(e for e in events if e.type == "response.function_call_arguments.done")
assert done.arguments == call.arguments, done
second = client.responses.create(model=model, previous_response_id=first.id, input=[
    {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
assert second.previous_response_id == first.id and second.status == "completed", second

back = client.responses.create(model=model, input="Ahoy there", background=True)
assert back.status in ("queued", "in_progress"), back
events = list(client.responses.retrieve(back.id, stream=True))
assert events[-1].type == "response.completed", events
half = events[len(events) // 2].sequence_number
rest = list(client.responses.retrieve(back.id, stream=True, starting_after=half))
assert rest and all(e.sequence_number > half for e in rest)
had = "".join(e.delta for e in events
              if e.type == "response.output_text.delta" and e.sequence_number <= half)
more = "".join(e.delta for e in rest if e.type == "response.output_text.delta")
assert had + more == text, (had, more)
assert client.responses.cancel(back.id).status == "completed", "it has ended already"
slow = client.responses.create(model=slowly, input="Ahoy", background=True)
assert client.responses.cancel(slow.id).status == "cancelled"
client.responses.delete(back.id)
for gone in (back.id, "resp_none"):
    try:
        client.responses.retrieve(gone)
        raise AssertionError("a response that isn't there was found")
    except openai.NotFoundError:
        pass

# The same request again, and errors.
again = [client.chat.completions.with_raw_response.create(
    model=model, messages=messages, extra_headers={"Idempotency-Key": idempotency_key}) for _ in range(2)]
assert again[0].text == again[1].text, again
assert again[1].headers["idempotent-replayed"] == "true", again[1].headers
for wrong, error in [
    (lambda: client.chat.completions.create(model="nobody", messages=messages), openai.NotFoundError),
    (lambda: client.chat.completions.create(model=model, messages=[]), openai.BadRequestError),
    (lambda: client.responses.create(model=model, input=[]), openai.BadRequestError),
    (lambda: OpenAI(base_url=url, api_key="sk-x").models.list(), openai.AuthenticationError),
    (lambda: client.chat.completions.create(model=model, messages=messages[:1] * 2,
        extra_headers={"Idempotency-Key": idempotency_key}), openai.UnprocessableEntityError),
]:
    try:
        wrong()
        raise AssertionError(f"no {error.__name__}")
    except error as said:
        assert said.code and said.message, said
print("ok")
