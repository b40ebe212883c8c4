// Anthropic's routes over one service, which must outlive the server.
#pragma once

#include "server/router.h"
#include "server/service.h"

namespace sluice {

void add_messages_routes(Router& router, Service& service);  // /v1/messages, /v1/messages/count_tokens

}  // namespace sluice
