// GET /openapi.json: what the routes take and answer, as an OpenAPI 3.1 document.
//
// Its parts are the files of server/openapi/. Each is an object with any of these members, which are put together over all files:
//
//   paths            path -> what it does
//   everywhere       status -> answer that every operation has that does not say otherwise; a 401 only where a key is needed
//   schemas, responses, parameters, headers, examples      components
//
// What only the program knows is added: the schemas ModelName, TokenId, TokenCount (of a context) and PageFile.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/embedded.h"
#include "server/router.h"

namespace sluice {

struct OpenApiFacts {
  std::string version;              // of the program
  std::vector<std::string> models;  // names that a request may use
  std::vector<std::string> page;    // the files behind /web/
  int64_t vocab_size = 0, max_context = 0;
  bool needs_key = false;
};

Result<boost::json::object> openapi_document(std::span<const EmbeddedFile> parts, const OpenApiFacts& facts);

Status add_openapi_route(Router& router, const OpenApiFacts& facts);

}  // namespace sluice
