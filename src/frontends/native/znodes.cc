#include "frontends/native/znodes.h"

#include "wire/grpc.h"

namespace conclave::native {
namespace {

namespace zk = api::zk;

zk::TreeNode to_api(const v1::Znode& from) {
  zk::TreeNode node;
  node.path = from.path();
  node.data = from.data();
  for (const v1::Znode::Acl& acl : from.acl()) {
    node.acl.push_back({acl.permissions(), {acl.scheme(), acl.id()}});
  }
  node.ctime_ms = from.ctime();
  node.mtime_ms = from.mtime();
  node.version = from.version();
  node.aversion = from.aversion();
  node.created = from.created();
  return node;
}

void to_proto(const zk::TreeNode& from, v1::Znode& to) {
  to.set_path(from.path);
  to.set_data(from.data);
  for (const zk::Acl& acl : from.acl) {
    v1::Znode::Acl& each = *to.add_acl();
    each.set_permissions(acl.permissions);
    each.set_scheme(acl.id.scheme);
    each.set_id(acl.id.id);
  }
  to.set_ctime(from.ctime_ms);
  to.set_mtime(from.mtime_ms);
  to.set_version(from.version);
  to.set_aversion(from.aversion);
  to.set_created(from.created);
  to.set_timed(!from.is_plain);
}

BytesView text_of(zk::Code code) {
  switch (code) {
    case zk::Code::kNoNode:
      return "it has no parent";
    case zk::Code::kNotEmpty:
      return "it has children, and is to be removed";
    case zk::Code::kNoChildrenForEphemerals:
      return "its parent is ephemeral";
    case zk::Code::kNodeExists:
      return "it is an ephemeral node of a client of this cluster";
    case zk::Code::kBadVersion:
      return "a client of this cluster has written it, not the import";
    case zk::Code::kInvalidAcl:
      return "its access control list is empty or too long";
    default:
      return "its path is no znode's, or one of ZooKeeper's own, or it is too large";
  }
}

}  // namespace

zk::ImportRequest znodes_step(const v1::ImportRequest& from) {
  zk::ImportRequest step;
  step.before = from.before();
  step.after = from.after();
  step.merge = from.merge();
  for (const Bytes& path : from.removed()) step.removed.push_back(path);
  for (const v1::Znode& node : from.nodes()) step.nodes.push_back(to_api(node));
  return step;
}

v1::ExportResponse znodes_part(const zk::Tree& from) {
  v1::ExportResponse to;
  to.set_mark(from.mark);
  for (const zk::TreeNode& node : from.nodes) to_proto(node, *to.add_nodes());
  to.set_next(from.next);
  return to;
}

api::Service::Refusal refusal_of(const zk::Reply& reply) {
  Bytes message = "conclave: ";
  if (const auto* names = std::get_if<zk::Names>(&reply.result); names != nullptr) {
    for (const Bytes& path : names->names) message += path + ": ";
  }
  message += text_of(reply.code);
  return {static_cast<int>(wire::GrpcCode::kFailedPrecondition), std::move(message)};
}

}  // namespace conclave::native
