#pragma once
// The api's write requests and their answers as bytes (docs/formats/commands.md): in the log inside
// commands, in snapshots as the answers that are kept for request ids.
//
// Decoders accept exactly what encoders write: unknown enumerators and flags, and nesting deeper
// than kMaxTxnDepth, fail the Decoder they read from; its owner turns that into an error.

#include "api/request.h"
#include "base/result.h"
#include "store/codec.h"
#include "store/operations.h"

namespace conclave::store {

// Transactions within transactions; validate() refuses deeper ones.
inline constexpr std::size_t kMaxTxnDepth = 64;

// REQUIRES of each: the request passed Store::validate.
void encode(Encoder& out, const api::PutRequest& put);
void encode(Encoder& out, const api::DeleteRangeRequest& erase);
void encode(Encoder& out, const api::TxnRequest& txn);
void encode(Encoder& out, const api::CompactRequest& compact);
// REQUIRES: the id was drawn, and the ttl is the one to be granted.
void encode(Encoder& out, const api::LeaseGrantRequest& grant);
void encode(Encoder& out, const api::LeaseRevokeRequest& revoke);
void encode(Encoder& out, const api::LeaseKeepAliveRequest& keep_alive);
void encode(Encoder& out, const api::AcquireRequest& acquire);
void encode(Encoder& out, const api::ReleaseRequest& release);
// Not whether it is waited for: what is done in the log is the same.
void encode(Encoder& out, const api::EnterRequest& enter);
void encode(Encoder& out, const api::LeaveRequest& leave);

PutOp decode_put(Decoder& in);  // borrows from the input
api::DeleteRangeRequest decode_delete_range(Decoder& in);
api::TxnRequest decode_txn(Decoder& in);
api::CompactRequest decode_compact(Decoder& in);
api::LeaseGrantRequest decode_lease_grant(Decoder& in);
api::LeaseRevokeRequest decode_lease_revoke(Decoder& in);
api::LeaseKeepAliveRequest decode_lease_keep_alive(Decoder& in);
api::AcquireRequest decode_acquire(Decoder& in);
api::ReleaseRequest decode_release(Decoder& in);
api::EnterRequest decode_enter(Decoder& in);
api::LeaveRequest decode_leave(Decoder& in);

// The revision and the answer; the rest of the header belongs to the member that answers.
// REQUIRES: the answer is that of a write.
Bytes encode_response(const api::Response& response);
Result<api::Response> decode_response(BytesView bytes);

}  // namespace conclave::store
