"""A client of the key-value service in Python: puts, puts if nobody was faster, reads both ways, and scans.

The stubs are made from kvstore/proto/kv.proto, once:

    python3 -m venv /tmp/spinnaker-client
    /tmp/spinnaker-client/bin/pip install grpcio grpcio-tools
    /tmp/spinnaker-client/bin/python -m grpc_tools.protoc -I kvstore/proto \
        --python_out=/tmp/spinnaker-client --grpc_python_out=/tmp/spinnaker-client kvstore/proto/kv.proto

Then, with a node at 127.0.0.1:7401 (`cargo run -- demo` prints the addresses of its nodes):

    PYTHONPATH=/tmp/spinnaker-client /tmp/spinnaker-client/bin/python kvstore/examples/client.py 127.0.0.1:7401
"""

import sys

import grpc
import kv_pb2 as pb
import kv_pb2_grpc

TABLE = "example_client_py"
# Until then the node retries by itself, through elections and failures.
DEADLINE_S = 10


def put(key, color):
    return pb.PutRequest(table=TABLE, key=key, columns=[pb.ColumnValue(column=b"color", value=color)])


def show(lsn):
    return f"{lsn.epoch}.{lsn.sequence}"


def show_row(row):
    cells = (f"{cell.column.decode()}={cell.value.decode()} (version {show(cell.version)})" for cell in row.cells)
    return f"{row.key.decode()} {', '.join(cells)}"


def print_get(how, answer):
    source = answer.source
    age = f"at most {source.staleness_ms} ms old" if source.HasField("staleness_ms") else "of unknown age"
    print(f"{how}: {show_row(answer.row)}, from node {source.replica}, {age}")


def main():
    # Any node will do: it forwards to the replica that must answer.
    kv = kv_pb2_grpc.KvStub(grpc.insecure_channel(sys.argv[1]))
    kv.CreateTable(pb.CreateTableRequest(table=TABLE, splits=[b"m"]), timeout=DEADLINE_S)

    # A put is answered when a majority of the replicas has it on disk.
    written = {}
    for fruit, color in [(b"apple", b"green"), (b"cherry", b"red"), (b"plum", b"blue")]:
        written[fruit] = kv.Put(put(fruit, color), timeout=DEADLINE_S).lsn
        print(f"put {fruit.decode()}: version {show(written[fruit])}")

    # A conditional put writes only if the row still is what we think it is; this one wins, the second comes late.
    unchanged = [pb.Condition(row_version=written[b"apple"])]
    won = kv.ConditionalPut(pb.ConditionalPutRequest(put=put(b"apple", b"red"), conditions=unchanged), timeout=DEADLINE_S)
    print(f"conditional put of apple: version {show(won.lsn)}")
    try:
        kv.ConditionalPut(pb.ConditionalPutRequest(put=put(b"apple", b"yellow"), conditions=unchanged), timeout=DEADLINE_S)
        sys.exit("expected a refusal")
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
            raise
        print(f"conditional put of apple again: refused ({error.details()})")

    # Strong: the latest value, from the range's leader.
    strong = pb.ReadOptions(consistency=pb.STRONG)
    print_get("strong", kv.Get(pb.GetRequest(table=TABLE, key=b"apple", options=strong), timeout=DEADLINE_S))
    # Timeline: from the nearest replica, which may be behind. With min_lsn at least our own write is seen, and with
    # max_staleness_ms nothing that is older than that.
    timeline = pb.ReadOptions(consistency=pb.TIMELINE, max_staleness_ms=1000, min_lsn=won.lsn)
    print_get("timeline", kv.Get(pb.GetRequest(table=TABLE, key=b"apple", options=timeline), timeout=DEADLINE_S))

    # A scan streams rows in the order of their keys, page by page.
    for page in kv.Scan(pb.ScanRequest(table=TABLE, start=b"b"), timeout=DEADLINE_S):
        for row in page.rows:
            print(f"scan: {show_row(row)}")
    kv.DropTable(pb.DropTableRequest(table=TABLE), timeout=DEADLINE_S)


if __name__ == "__main__":
    main()
