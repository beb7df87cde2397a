#include "sim/workloads/caller.h"

#include <fmt/core.h>

#include <utility>

namespace conclave::sim {

Caller::Caller(Site& site, const WorkloadPlan& plan, std::string_view letter, std::size_t number)
    : site_(site),
      plan_(plan),
      number_(number),
      name_(fmt::format("{}{}", letter, number)),
      rng_(plan.seed + number),
      client_({.seed = rng_.next(), .members = &site.members}, site.clock,
              site.fabric.host(name_)) {}

Caller::~Caller() { site_.clock.cancel(pause_); }

void Caller::begin(std::function<void()> act, std::function<void()> finished) {
  act_ = std::move(act);
  finished_ = std::move(finished);
  next();
}

void Caller::next() {
  const auto most = static_cast<std::uint64_t>(plan_.think.ns);
  const auto pause = nanoseconds(static_cast<std::int64_t>(rng_.below(most + 1)));
  pause_ = site_.clock.after(pause, [this] {
    if (acts_ == plan_.operations) return finished_();
    ++acts_;
    act_();
  });
}

void Caller::call(std::string_view method, const google::protobuf::Message& request,
                  EtcdClient::Done heard, EtcdClient::Metadata metadata) {
  if (site_.trace.wants(Trace::Kind::kClient))
    site_.trace.note(Trace::Kind::kClient, name_,
                     fmt::format("asks {} {}", method, request.ShortDebugString()));
  client_.call(
      method, request,
      [this, heard = std::move(heard)](const EtcdClient::Reply& reply) {
        if (reply.answered()) ++answered_;
        if (site_.trace.wants(Trace::Kind::kClient))
          site_.trace.note(Trace::Kind::kClient, name_,
                           reply.answered()  ? "is answered"
                           : reply.refused() ? "is refused: " + reply.error
                                             : "cannot know: " + reply.error);
        heard(reply);
      },
      std::move(metadata));
}

}  // namespace conclave::sim
