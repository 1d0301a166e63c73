// Fields of a chat request that the chat template sees.
#pragma once

#include "router/field_reader.h"
#include "router/generation.h"

namespace baton::router {

// Reads chat_template_kwargs, documents, reasoning_effort, continue_final_message and
// add_generation_prompt into the generation's only prompt. Records an error that names the field.
void ReadChatTemplateFields(FieldReader& fields, Generation* generation);

}  // namespace baton::router
