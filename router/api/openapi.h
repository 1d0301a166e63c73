// The description of the HTTP API that the server hands out.
#pragma once

#include <cstdint>
#include <string>

namespace baton::router {

// openapi.json of this folder (OpenAPI 3.1), with the largest token id of the model in its place.
std::string OpenApiJson(int32_t vocab_size);

}  // namespace baton::router
