// Fields of the OpenAI API and of vLLM that would change the answer and are not supported: said,
// never ignored.
#pragma once

#include "router/field_reader.h"

namespace baton::router {

// Records an error that names the first such field whose value asks for anything.
void RefuseUnsupportedFields(FieldReader& fields);

}  // namespace baton::router
