#pragma once
// Encoded requests for tests.

#include "base/bytes.h"
#include "etcd.pb.h"

namespace conclave::etcd {

inline Bytes put_message(BytesView key, BytesView value) {
  ::etcdserverpb::PutRequest put;
  put.set_key(Bytes(key));
  put.set_value(Bytes(value));
  return put.SerializeAsString();
}

inline Bytes range_message(BytesView key) {
  ::etcdserverpb::RangeRequest range;
  range.set_key(Bytes(key));
  return range.SerializeAsString();
}

}  // namespace conclave::etcd
