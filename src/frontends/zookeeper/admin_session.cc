#include "frontends/zookeeper/admin_session.h"

#include <fmt/core.h>

#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "frontends/zookeeper/admin.h"
#include "wire/http1_server.h"

namespace conclave::zookeeper {
namespace {

constexpr BytesView kPrefix = "/commands/";
constexpr BytesView kJsonType = "application/json";

wire::Http1Options http_options(const SessionOptions& options) {
  wire::Http1Options http;
  http.max_body_bytes = limits::kKiB;
  http.request_deadline = options.packet_deadline;
  http.all_buffers = options.all_buffers;
  return http;
}

class AdminSession final : public api::Session {
 public:
  explicit AdminSession(const SessionOptions& options)
      : options_(options), http_(http_options(options)) {}

  void on_bytes(BytesView bytes, Effects& effects) override {
    http_.receive(bytes, effects.send);
    serve(effects);
  }

  // What has arrived is answered first.
  bool takes_bytes() const override { return command_.empty() && http_.request() == nullptr; }

  void on_response(api::CallId call, api::Response response, Effects& effects) override {
    if (command_.empty() || call != last_call_) return;
    told_.push_back(std::move(response));
    go_on(effects);
    serve(effects);
  }

  bool on_part(api::CallId, const api::Header&, std::vector<api::KeyValue>, Effects&) override {
    return false;
  }
  bool on_watch(api::CallId, const api::Header&, const api::WatchNews&, Effects&) override {
    return true;
  }
  // Of answers; the large one of a command is the last that it waits for.
  std::size_t held_bytes() const override { return 0; }

  void on_tick(Instant now, Effects& effects) override {
    http_.tick(now, effects.send);
    close_if_idle(now, effects);
    end_if_finished(effects);
  }
  void on_shutdown(Effects& effects) override {
    http_.shutdown();
    end_if_finished(effects);
  }
  void on_drained(Effects& effects) override { serve(effects); }

 private:
  void serve(Effects& effects) {
    while (command_.empty() && !http_.finished() && http_.request() != nullptr) {
      if (is_ahead(effects)) break;
      idle_since_ = {};
      serve_request(*http_.request(), effects);
    }
    end_if_finished(effects);
  }

  // Whether the client has yet to take what was said before the next request may begin. Where the
  // connection has not even been given all of it, it may be about to take it at once.
  static bool is_ahead(Effects& effects) {
    if (effects.unsent + effects.send.size() < limits::kSendAheadBytes) return false;
    effects.wants_drained = effects.unsent < limits::kSendAheadBytes;
    return true;
  }

  // Nothing is being answered, and the client takes nothing of what was.
  void close_if_idle(Instant now, Effects& effects) {
    const bool is_idle = command_.empty() && effects.unsent == unsent_;
    unsent_ = effects.unsent;
    if (!is_idle) {
      idle_since_ = {};
    } else if (idle_since_.ns == 0) {
      idle_since_ = now;
    } else if (now - idle_since_ >= options_.packet_deadline) {
      effects.close = true;
    }
  }

  void serve_request(const wire::Http1Request& request, Effects& effects) {
    if (request.method != "GET") {
      return http_.respond(
          {.status = 405, .body = "Method Not Allowed\n", .extra_header = "Allow: GET"},
          effects.send);
    }
    if (request.path == "/commands" || request.path == kPrefix) return list(effects);
    if (request.path == kMetricsCommand) return begin(kMetricsCommand, effects);
    const BytesView path = request.path;
    if (!path.starts_with(kPrefix)) {
      return http_.respond({.status = 404, .body = "404 page not found\n"}, effects.send);
    }
    const BytesView name = path.substr(kPrefix.size());
    const auto command = find_command(name);
    if (!command)
      return answer(refuse_command(name, fmt::format("Unknown command: {}", name)), effects);
    begin(*command, effects);
  }

  void list(Effects& effects) {
    Bytes page;
    for (const BytesView name : all_commands()) {
      page += fmt::format("<a href=\"/commands/{}\">{}</a>\n<br/>\n", name, name);
    }
    http_.respond({.content_type = "text/html; charset=utf-8", .body = std::move(page)},
                  effects.send);
  }

  // `command` outlives this.
  void begin(BytesView command, Effects& effects) {
    if (!is_command_allowed(options_.words, command)) {
      if (command == kMetricsCommand) {
        return http_.respond({.status = 403, .body = "--zookeeper-words leaves out mntr\n"},
                             effects.send);
      }
      return answer(refuse_command(command, "--zookeeper-words leaves it out"), effects);
    }
    command_ = command;
    questions_ = questions_of_command(command);
    go_on(effects);
  }

  // The next question, or the answer.
  void go_on(Effects& effects) {
    if (told_.size() < questions_.size()) {
      api::Request request{.body = std::move(questions_[told_.size()]), .id = {}, .timeout_ms = {}};
      effects.calls.push_back({++last_call_, std::move(request)});
      return;
    }
    const ProcessFacts process = options_.process ? options_.process() : ProcessFacts();
    Told told{options_.words, process, *options_.connections, std::exchange(told_, {})};
    questions_.clear();
    Bytes body = answer_command(command_, told);
    if (std::exchange(command_, {}) == kMetricsCommand) {
      if (body.empty()) {
        return http_.respond({.status = 503, .body = Bytes(kNotServing) + "\n"}, effects.send);
      }
      return http_.respond(
          {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = std::move(body)},
          effects.send);
    }
    answer(std::move(body), effects);
  }

  // With a status of 200 whatever it says, as ZooKeeper's.
  void answer(Bytes json, Effects& effects) {
    http_.respond({.content_type = kJsonType, .body = std::move(json)}, effects.send);
  }

  void end_if_finished(Effects& effects) {
    if (!http_.finished()) return;
    effects.close = true;
    effects.close_reason = http_.complaint();
  }

  const SessionOptions options_;
  wire::Http1Server http_;
  api::CallId last_call_ = 0;
  BytesView command_;  // that is being answered; empty: none
  std::vector<api::Body> questions_;
  std::vector<api::Response> told_;
  std::size_t unsent_ = 0;  // at the last tick
  Instant idle_since_;      // when a tick first saw it so; 0: it is not
};

}  // namespace

api::SessionFactory make_admin_sessions(SessionOptions options) {
  CHECK(options.connections != nullptr);
  options.all_buffers = std::make_shared<wire::RequestBuffers>();
  return [options = std::move(options)](const std::string&, const api::ClientIdentity&) {
    return std::make_unique<AdminSession>(options);
  };
}

}  // namespace conclave::zookeeper
