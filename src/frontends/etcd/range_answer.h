#pragma once
// A Range's answer that is encoded in parts: the same message that Codec::encode makes at once (its
// JSON byte for byte; in protobuf `more` and `count` come last). Held in pieces of about a
// megabyte, so that no step copies more than that and memory goes as it is sent.

#include <vector>

#include "api/request.h"
#include "base/bytes.h"
#include "frontends/etcd/codec.h"

namespace conclave::etcd {

class RangeAnswer {
 public:
  // `header` goes in front.
  RangeAnswer(Format format, const api::Header& header);

  void add(std::vector<api::KeyValue> kvs);
  // The rest; take() afterwards.
  void finish(api::RangeResponse last);

  std::size_t size_bytes() const { return size_bytes_; }
  std::vector<Bytes> take() { return std::move(pieces_); }

 private:
  Bytes& open_piece();
  void add_protobuf(std::vector<api::KeyValue>& kvs, Bytes& out);
  void add_json(const std::vector<api::KeyValue>& kvs, Bytes& out);

  Format format_;
  bool has_keys_ = false;
  std::vector<Bytes> pieces_;
  std::size_t size_bytes_ = 0;
};

}  // namespace conclave::etcd
