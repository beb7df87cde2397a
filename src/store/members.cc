// Changes of the members (ClusterFacts in state.h). The rules and their order are those of etcd's
// ValidateConfigurationChange, so that a request that breaks several of them gets the same answer.

#include <algorithm>

#include "base/limits.h"
#include "store/command_codec.h"
#include "store/state.h"

namespace conclave::store {
namespace {

using api::ErrorCode;
using MaybeError = std::optional<api::Error>;

MaybeError refuse(ErrorCode code) { return api::Error{code, {}}; }

template <class Members>
auto place_of(Members& members, NodeId id) {
  return std::ranges::lower_bound(members, id, {}, &api::Member::id);
}

template <class Members>
auto* find(Members& members, NodeId id) {
  const auto place = place_of(members, id);
  return place != members.end() && place->id == id ? &*place : nullptr;
}

bool is_removed(const ClusterFacts& facts, NodeId id) {
  return std::ranges::find(facts.removed, id) != facts.removed.end();
}

// Whether a member other than the two named has one of these URLs.
bool has_taken(const ClusterFacts& facts, const std::vector<std::string>& urls, NodeId but,
               NodeId and_but) {
  return std::ranges::any_of(facts.members, [&](const api::Member& member) {
    if (member.id == but || member.id == and_but) return false;
    return std::ranges::any_of(member.peer_urls, [&](const std::string& url) {
      return std::ranges::find(urls, url) != urls.end();
    });
  });
}

std::size_t voters(const ClusterFacts& facts) {
  return static_cast<std::size_t>(
      std::ranges::count(facts.members, false, &api::Member::is_learner));
}

void remove(ClusterFacts& facts, NodeId id) {
  facts.members.erase(place_of(facts.members, id));
  facts.directories.erase(id);
  facts.zookeeper.erase(id);
  facts.removed.push_back(id);
  if (facts.removed.size() > limits::kMaxRemovedMembers) facts.removed.erase(facts.removed.begin());
}

MaybeError add(ClusterFacts& facts, const MemberChange& change) {
  const api::Member* leaving = find(facts.members, change.replaces);
  if (change.replaces && leaving == nullptr) return refuse(ErrorCode::kMemberNotFound);
  if (!change.id || find(facts.members, change.id) != nullptr) {
    return refuse(ErrorCode::kMemberExists);
  }
  if (has_taken(facts, change.peer_urls, change.replaces, {})) {
    return refuse(ErrorCode::kPeerUrlsExist);
  }
  const auto learners =
      static_cast<std::size_t>(std::ranges::count(facts.members, true, &api::Member::is_learner));
  const bool frees_a_learner = leaving != nullptr && leaving->is_learner;
  if (change.is_learner && learners - (frees_a_learner ? 1 : 0) >= limits::kMaxLearners) {
    return refuse(ErrorCode::kTooManyLearners);
  }
  const bool frees_a_voter = leaving != nullptr && !leaving->is_learner;
  if (change.is_learner && frees_a_voter && voters(facts) == 1) {
    return refuse(ErrorCode::kNotEnoughStarted);
  }
  // Whoever comes in a witness's place is one.
  const bool is_witness = leaving != nullptr && leaving->is_witness;
  if (leaving != nullptr) remove(facts, change.replaces);
  facts.members.insert(place_of(facts.members, change.id),
                       api::Member{.id = change.id,
                                   .name = {},
                                   .peer_urls = change.peer_urls,
                                   .client_urls = {},
                                   .is_learner = change.is_learner,
                                   .is_witness = is_witness});
  return std::nullopt;
}

MaybeError remove_member(ClusterFacts& facts, const api::Member& member) {
  if (!member.is_learner && voters(facts) == 1) return refuse(ErrorCode::kNotEnoughStarted);
  remove(facts, member.id);
  return std::nullopt;
}

MaybeError update(ClusterFacts& facts, api::Member& member, const MemberChange& change) {
  if (has_taken(facts, change.peer_urls, change.id, {})) return refuse(ErrorCode::kPeerUrlsExist);
  member.peer_urls = change.peer_urls;
  return std::nullopt;
}

MaybeError promote(api::Member& member) {
  if (!member.is_learner) return refuse(ErrorCode::kMemberNotLearner);
  member.is_learner = false;
  return std::nullopt;
}

MaybeError refusal_of(MemberChange::Verdict verdict) {
  switch (verdict) {
    case MemberChange::Verdict::kGranted:
      return std::nullopt;
    case MemberChange::Verdict::kNotEnoughStarted:
      return refuse(ErrorCode::kNotEnoughStarted);
    case MemberChange::Verdict::kUnhealthy:
      return refuse(ErrorCode::kUnhealthy);
    case MemberChange::Verdict::kLearnerNotReady:
      return refuse(ErrorCode::kLearnerNotReady);
    case MemberChange::Verdict::kTooManyRequests:
      return refuse(ErrorCode::kTooManyRequests);
  }
  return refuse(ErrorCode::kUnhealthy);
}

MaybeError apply(ClusterFacts& facts, const MemberChange& change) {
  if (auto refused = refusal_of(change.verdict)) return refused;
  if (!facts.founded) return refuse(ErrorCode::kUnhealthy);
  if (is_removed(facts, change.id)) return refuse(ErrorCode::kMemberNotFound);
  if (change.kind == MemberChange::Kind::kAdd) return add(facts, change);
  api::Member* member = find(facts.members, change.id);
  if (member == nullptr) return refuse(ErrorCode::kMemberNotFound);
  if (change.kind == MemberChange::Kind::kRemove) return remove_member(facts, *member);
  if (change.kind == MemberChange::Kind::kUpdate) return update(facts, *member, change);
  return promote(*member);
}

}  // namespace

void ClusterFacts::publish(const PublishMember& publish) {
  const api::Member& told = publish.member;
  api::Member* known = find(members, told.id);
  if (founded && known == nullptr) return;  // removed meanwhile
  if (founded) {
    known->name = told.name;
    known->client_urls = told.client_urls;
  } else if (known != nullptr) {
    *known = told;
  } else {
    members.insert(place_of(members, told.id), told);
  }
  if (publish.directory != 0) directories.try_emplace(told.id, publish.directory);
  if (publish.zookeeper.empty()) {
    zookeeper.erase(told.id);
  } else {
    zookeeper.insert_or_assign(told.id, publish.zookeeper);
  }
  update_digest();
}

void ClusterFacts::found(const FoundMembers& found) {
  if (founded) return;
  std::vector<api::Member> founders = found.members;
  for (api::Member& member : founders) {
    const api::Member* published = find(members, member.id);
    if (published == nullptr) continue;
    member.name = published->name;
    member.client_urls = published->client_urls;
  }
  members = std::move(founders);
  const auto is_gone = [this](const auto& told) { return find(members, told.first) == nullptr; };
  absl::erase_if(directories, is_gone);
  absl::erase_if(zookeeper, is_gone);
  founded = true;
  update_digest();
}

std::optional<api::Error> ClusterFacts::change(const MemberChange& change) {
  if (auto refused = apply(*this, change)) return refused;
  update_digest();
  return std::nullopt;
}

std::optional<api::Error> ClusterFacts::reconfigure(const std::vector<ReconfigStep>& steps) {
  ClusterFacts next = *this;
  for (const ReconfigStep& step : steps) {
    if (auto refused = apply(next, step.change)) return refused;
    if (step.zookeeper.empty()) continue;
    next.zookeeper.insert_or_assign(step.change.id, step.zookeeper);
  }
  *this = std::move(next);
  update_digest();
  return std::nullopt;
}

void encode_founding(Encoder& out, const ClusterFacts& facts) {
  out.u8(facts.founded ? 1 : 0);
  out.varint(facts.removed.size());
  for (const NodeId id : facts.removed) out.fixed64(id.value);
  out.varint(facts.directories.size());
  for (const auto& [id, directory] : facts.directories) {
    out.fixed64(id.value);
    out.fixed64(directory);
  }
}

void decode_founding(Decoder& in, ClusterFacts& facts) {
  facts.founded = in.flags(1) != 0;
  const std::size_t removed = in.count();
  for (std::size_t i = 0; i < removed && in.ok(); ++i)
    facts.removed.push_back(NodeId{in.fixed64()});
  const std::size_t directories = in.count();
  for (std::size_t i = 0; i < directories && in.ok(); ++i) {
    const NodeId id{in.fixed64()};
    const std::uint64_t directory = in.fixed64();
    const bool sorted = facts.directories.empty() || facts.directories.rbegin()->first < id;
    if (!sorted || directory == 0) in.fail();
    facts.directories.emplace(id, directory);
  }
}

void encode_zookeeper(Encoder& out, const ClusterFacts& facts) {
  out.varint(facts.zookeeper.size());
  for (const auto& [id, address] : facts.zookeeper) {
    out.fixed64(id.value);
    out.bytes(address);
  }
}

void decode_zookeeper(Decoder& in, ClusterFacts& facts) {
  const std::size_t addresses = in.count();
  for (std::size_t i = 0; i < addresses && in.ok(); ++i) {
    const NodeId id{in.fixed64()};
    const BytesView address = in.bytes();
    const bool sorted = facts.zookeeper.empty() || facts.zookeeper.rbegin()->first < id;
    if (!sorted || address.empty()) in.fail();
    facts.zookeeper.emplace(id, address);
  }
}

}  // namespace conclave::store
