// GET /v1/models, /v1/models/{id}, /health, /ready; and what other servers offer and this one does not.
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "io/quote.h"
#include "server/openai_common.h"
#include "server/openai_routes.h"

namespace sluice {
namespace {

namespace json = boost::json;

json::object model_object(const Service& service, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", service.created()},
          {"owned_by", "sluice"},
          {"root", service.name()},
          {"parent", nullptr},
          {"max_model_len", service.max_context()}};
}

}  // namespace

void add_model_routes(Router& router, Service& service) {
  router.add("GET", "/v1/models", [&service](HttpRequest, Responder r) {
    json::array data;
    for (const std::string& name : service.names()) data.push_back(model_object(service, name));
    respond_json(r, json::object{{"object", "list"}, {"data", std::move(data)}});
  });
  // The rest of the path: names may have slashes, as on a hub.
  router.add("GET", "/v1/models/{id...}", [&service](HttpRequest q, Responder r) {
    const std::string id(q.param("id"));
    if (service.has_name(id)) return respond_json(r, model_object(service, id));
    r.respond(error_response(
        {.status = 404, .message = "the model " + quote(id) + " is not served here", .param = "model", .code = "model_not_found"}));
  });
}

void add_absent_routes(Router& router) {
  for (const char* path : {"/v1/embeddings", "/v1/rerank", "/v1/score", "/v1/audio/transcriptions", "/v1/images/generations"})
    router.add("POST", path, [](HttpRequest q, Responder r) {
      r.respond(error_response(not_supported({}, q.path + " is not offered: this server's models write text")));
    });
}

void add_health_routes(Router& router, Service& service) {
  constexpr RouteOptions kOpen{.needs_key = false, .while_draining = true};
  router.add(
      "GET", "/health",
      [](HttpRequest, Responder r) {
        respond_json(r, json::object{{"status", "ok"}});
      },
      kOpen);
  router.add(
      "GET", "/ready",
      [&service](HttpRequest, Responder r) {
        if (const Status s = service.loop().health(); !s.ok()) return r.respond(error_response(api_error(s)));
        if (service.draining) return r.respond(error_response(unavailable("the server is shutting down")));
        respond_json(r, json::object{{"status", "ready"}});
      },
      kOpen);
}

}  // namespace sluice
