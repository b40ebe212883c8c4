// OpenAI's and vLLM's routes over one service, which must outlive the server.
#pragma once

#include "server/router.h"
#include "server/service.h"

namespace sluice {

void add_chat_route(Router& router, Service& service);         // /v1/chat/completions
void add_completions_route(Router& router, Service& service);  // /v1/completions
void add_token_routes(Router& router, Service& service);       // /tokenize, /detokenize, /tokenizer_info
void add_model_routes(Router& router, Service& service);       // /v1/models, /v1/models/{id}
void add_health_routes(Router& router, Service& service);      // /health, /ready

}  // namespace sluice
