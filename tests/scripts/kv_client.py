"""A client of the key-value service that knows nothing but the server's reflection.

usage: kv_client.py HOST:PORT HOST:PORT   (two nodes of one cluster; prints ok)
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "spinnaker.kv.v1.Kv"
DEADLINE_S = 60


class Node:
    """Calls any method by name with a dictionary's worth of fields."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        services = database.get_services()
        assert SERVICE in services, services
        assert "grpc.health.v1.Health" in services, services
        self.pool = descriptor_pool.DescriptorPool(database)
        self.service = self.pool.FindServiceByName(SERVICE)

    def message(self, name, **fields):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName("spinnaker.kv.v1." + name))(**fields)

    def call(self, method, **fields):
        descriptor = self.service.methods_by_name[method]
        request_type, response_type = (
            message_factory.GetMessageClass(kind) for kind in (descriptor.input_type, descriptor.output_type)
        )
        make = self.channel.unary_stream if descriptor.server_streaming else self.channel.unary_unary
        stub = make(
            f"/{SERVICE}/{method}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        return stub(request_type(**fields), timeout=DEADLINE_S)


def refused(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return error
    raise AssertionError(f"expected {code}")


def main():
    one, two = Node(sys.argv[1]), Node(sys.argv[2])
    health = health_pb2_grpc.HealthStub(one.channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING, health

    one.call("CreateTable", table="t", splits=[b"h", b"q"])
    refused(grpc.StatusCode.ALREADY_EXISTS, lambda: one.call("CreateTable", table="t"))
    ranges = one.call("DescribeRanges", table="t").ranges
    assert [r.start for r in ranges] == [b"", b"h", b"q"], ranges
    assert all(len(r.members) == 3 for r in ranges), ranges

    # A write through one node is in a strong read through the other.
    columns = [one.message("ColumnValue", column=b"c", value=b"1"), one.message("ColumnValue", column=b"d", value=b"2")]
    for key in (b"apple", b"house", b"zebra"):
        written = one.call("Put", table="t", key=key, columns=columns)
        assert written.lsn.epoch > 0, written
        read = two.call("Get", table="t", key=key)
        assert read.found and [(c.column, c.value) for c in read.row.cells] == [(b"c", b"1"), (b"d", b"2")], read
        # Each node has classes of its own, so messages of two nodes are never equal as such.
        assert str(read.version) == str(written.lsn), (read, written)
    assert not two.call("Get", table="t", key=b"nothing").found

    # A timeline read with the write's LSN sees the write.
    options = two.message("ReadOptions", consistency=1, min_lsn=two.message(
        "Lsn", epoch=written.lsn.epoch, sequence=written.lsn.sequence))
    assert two.call("Get", table="t", key=b"zebra", options=options).found

    # Conditions: on the version read, then once more on a version that is gone.
    version = one.message("Lsn", epoch=written.lsn.epoch, sequence=written.lsn.sequence)
    put = one.message("PutRequest", table="t", key=b"zebra",
                      columns=[one.message("ColumnValue", column=b"c", value=b"9")])
    condition = one.message("Condition", row_version=version)
    one.call("ConditionalPut", put=put, conditions=[condition])
    refused(grpc.StatusCode.FAILED_PRECONDITION,
            lambda: one.call("ConditionalPut", put=put, conditions=[condition]))

    rows = [row.key for part in two.call("Scan", table="t") for row in part.rows]
    assert rows == [b"apple", b"house", b"zebra"], rows
    rows = [row.key for part in two.call("Scan", table="t", reverse=True, limit=2) for row in part.rows]
    assert rows == [b"zebra", b"house"], rows

    one.call("Delete", table="t", key=b"apple")
    assert not two.call("Get", table="t", key=b"apple").found

    refused(grpc.StatusCode.NOT_FOUND, lambda: one.call("Get", table="nothing", key=b"a"))
    too_large = [one.message("ColumnValue", column=b"c", value=b"x" * (2 << 20))]
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: one.call("Put", table="t", key=b"a", columns=too_large))

    nodes = one.call("Status", cluster=True, checksums=True).nodes
    assert sorted(n.node for n in nodes) == [1, 2, 3], nodes
    one.call("DropTable", table="t")
    column = two.message("ColumnValue", column=b"c", value=b"1")
    refused(grpc.StatusCode.NOT_FOUND, lambda: two.call("Put", table="t", key=b"a", columns=[column]))
    print("ok")


main()
