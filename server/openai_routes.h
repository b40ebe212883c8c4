// OpenAI's and vLLM's routes over one service, which must outlive the server.
#pragma once

#include "server/router.h"
#include "server/service.h"

namespace sluice {

void add_chat_route(Router& router, Service& service);         // /v1/chat/completions
void add_completions_route(Router& router, Service& service);  // /v1/completions
void add_responses_routes(Router& router, Service& service);   // /v1/responses; /v1/responses/{id} and what is below: 404
void add_token_routes(Router& router, Service& service);       // /tokenize, /detokenize, /tokenizer_info
void add_model_routes(Router& router, Service& service);       // /v1/models, /v1/models/{id}
void add_health_routes(Router& router, Service& service);      // /health, /ready

void add_absent_routes(Router& router);  // /v1/embeddings and the like: 501

}  // namespace sluice
