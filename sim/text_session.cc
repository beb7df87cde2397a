#include "sim/text_session.h"

#include <fmt/core.h>

#include <charconv>
#include <utility>
#include <variant>
#include <vector>

namespace conclave::sim {
namespace {

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

std::uint64_t number(const std::string& word) {
  std::uint64_t value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  return value;
}

api::Body get(const std::string& key, bool serializable) {
  api::RangeRequest range;
  range.key = key;
  range.serializable = serializable;
  return range;
}

api::PutRequest put(const std::string& key, const std::string& value) {
  api::PutRequest request;
  request.key = key;
  request.value = value;
  return request;
}

// Writes `value` if the key holds `expect` ("-": does not exist).
api::Body cas(const std::string& key, const std::string& expect, const std::string& value) {
  api::TxnRequest txn;
  api::Compare compare;
  compare.key = key;
  if (expect == "-") {
    compare.target = api::CompareTarget::kVersion;
  } else {
    compare.target = api::CompareTarget::kValue;
    compare.value = expect;
  }
  txn.compare.push_back(std::move(compare));
  txn.success.push_back(api::Operation{put(key, value)});
  return txn;
}

api::Request parse(const std::vector<std::string>& words) {
  api::Request request{.body = api::StatusRequest{}, .id = {}, .timeout_ms = {}};
  const std::string& verb = words.at(1);
  if (verb == "put") {
    request.body = put(words.at(2), words.at(3));
    if (words.size() > 4) {
      const std::size_t slash = words[4].find('/');
      request.id = api::RequestId{words[4].substr(0, slash), number(words[4].substr(slash + 1))};
    }
  } else if (verb == "get" || verb == "local") {
    request.body = get(words.at(2), verb == "local");
  } else if (verb == "cas") {
    request.body = cas(words.at(2), words.at(3), words.at(4));
  } else if (verb == "delete") {
    request.body = api::DeleteRangeRequest{.key = words.at(2), .range_end = {}, .prev_kv = false};
  } else if (verb == "compact") {
    request.body = api::CompactRequest{.revision = static_cast<api::Revision>(number(words.at(2))),
                                       .physical = false};
  }
  return request;
}

struct Render {
  api::Revision revision;

  std::string operator()(const api::Error& error) const {
    return fmt::format("error {}", static_cast<int>(error.code));
  }
  std::string operator()(const api::PutResponse&) const { return fmt::format("ok {}", revision); }
  std::string operator()(const api::RangeResponse& range) const {
    if (range.kvs.empty()) return fmt::format("absent {}", revision);
    return fmt::format("value {} {} {}", revision, range.kvs[0].mod_revision, range.kvs[0].value);
  }
  std::string operator()(const api::TxnResponse& txn) const {
    return fmt::format("{} {}", txn.succeeded ? "swapped" : "kept", revision);
  }
  std::string operator()(const api::DeleteRangeResponse& deleted) const {
    return fmt::format("deleted {} {}", revision, deleted.deleted);
  }
  std::string operator()(const api::CompactResponse&) const {
    return fmt::format("compacted {}", revision);
  }
  template <class Other>
  std::string operator()(const Other&) const {
    return fmt::format("other {}", revision);
  }
};

class TextSession final : public api::Session {
 public:
  void on_bytes(BytesView bytes, Effects& effects) override {
    buffer_.append(bytes);
    for (std::size_t end; (end = buffer_.find('\n')) != Bytes::npos; buffer_.erase(0, end + 1)) {
      const std::vector<std::string> words = words_of(BytesView(buffer_).substr(0, end));
      effects.calls.push_back({number(words.at(0)), parse(words)});
    }
  }
  void on_response(api::CallId call, api::Response response, Effects& effects) override {
    effects.send +=
        fmt::format("{} {}\n", call, std::visit(Render{response.header.revision}, response.answer));
  }
  void on_tick(Instant, Effects&) override {}
  void on_shutdown(Effects&) override {}
  void on_drained(Effects&) override {}

 private:
  Bytes buffer_;
};

}  // namespace

std::unique_ptr<api::Session> make_text_session() { return std::make_unique<TextSession>(); }

}  // namespace conclave::sim
