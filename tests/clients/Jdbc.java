// JDBC: parameters, server-prepared statements, batch, fetch size, types, errors, DatabaseMetaData.
import java.sql.*;
import java.util.*;

public class Jdbc {
    static void check(boolean holds, String what) { if (!holds) throw new RuntimeException(what); }

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) values.add(rows.getString(name));
        return values;
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:" + arguments[0].replace("postgres://root@", "postgresql://") + "?user=root";
        try (Connection db = DriverManager.getConnection(url)) {
            Statement plain = db.createStatement();
            plain.execute("drop table if exists jdbc_t");
            plain.execute("create table jdbc_t (id int8 primary key, t varchar(20) not null, n numeric(10,2), at timestamptz, d date)");
            try (PreparedStatement insert = db.prepareStatement("insert into jdbc_t values (?, ?, ?, ?, ?)")) {
                for (int n = 1; n <= 8; n++) {
                    insert.setLong(1, n); insert.setString(2, "row " + n); insert.setBigDecimal(3, new java.math.BigDecimal("1.50"));
                    insert.setTimestamp(4, Timestamp.valueOf("2024-02-29 10:11:12.5")); insert.setObject(5, java.time.LocalDate.of(2024, 2, 29));
                    insert.addBatch();
                }
                check(insert.executeBatch().length == 8, "batch");
            }
            try (PreparedStatement get = db.prepareStatement("select * from jdbc_t where id = ?")) {
                for (int n = 1; n <= 8; n++) {
                    get.setInt(1, n);
                    ResultSet row = get.executeQuery();
                    check(row.next() && row.getString("t").equals("row " + n) && row.getBigDecimal("n").toString().equals("1.50"), "row " + n);
                    check(row.getTimestamp("at").equals(Timestamp.valueOf("2024-02-29 10:11:12.5")), "timestamp");
                    check(row.getObject("d", java.time.LocalDate.class).equals(java.time.LocalDate.of(2024, 2, 29)), "date");
                }
            }
            db.setAutoCommit(false);
            plain.setFetchSize(3);
            check(column(plain.executeQuery("select id from jdbc_t order by id"), "id").size() == 8, "fetch size");
            plain.executeUpdate("update jdbc_t set t = 'x' where id = 1");
            db.rollback();
            db.setAutoCommit(true);
            try { plain.execute("insert into jdbc_t (id, t) values (1, 'x')"); check(false, "a duplicate was taken"); }
            catch (SQLException error) { check(error.getSQLState().equals("23505"), error.toString()); }
            check(db.isValid(5), "valid");
            DatabaseMetaData meta = db.getMetaData();
            String failed = "";
            String[] calls = {"getTables", "getColumns", "getPrimaryKeys", "getIndexInfo", "getImportedKeys", "getExportedKeys",
                "getTypeInfo", "getSchemas", "getCatalogs", "getTableTypes", "getColumnPrivileges", "getTablePrivileges",
                "getBestRowIdentifier", "getFunctions", "getProcedures", "getUDTs", "getClientInfoProperties"};
            for (String call : calls) {
                try {
                    ResultSet rows = switch (call) {
                        case "getTables" -> meta.getTables(null, "public", "jdbc%", new String[] {"TABLE"});
                        case "getColumns" -> meta.getColumns(null, "public", "jdbc_t", "%");
                        case "getPrimaryKeys" -> meta.getPrimaryKeys(null, "public", "jdbc_t");
                        case "getIndexInfo" -> meta.getIndexInfo(null, "public", "jdbc_t", false, false);
                        case "getImportedKeys" -> meta.getImportedKeys(null, "public", "jdbc_t");
                        case "getExportedKeys" -> meta.getExportedKeys(null, "public", "jdbc_t");
                        case "getTypeInfo" -> meta.getTypeInfo();
                        case "getSchemas" -> meta.getSchemas();
                        case "getCatalogs" -> meta.getCatalogs();
                        case "getTableTypes" -> meta.getTableTypes();
                        case "getColumnPrivileges" -> meta.getColumnPrivileges(null, "public", "jdbc_t", "%");
                        case "getTablePrivileges" -> meta.getTablePrivileges(null, "public", "jdbc_t");
                        case "getBestRowIdentifier" -> meta.getBestRowIdentifier(null, "public", "jdbc_t", DatabaseMetaData.bestRowSession, false);
                        case "getFunctions" -> meta.getFunctions(null, null, "%");
                        case "getProcedures" -> meta.getProcedures(null, null, "%");
                        case "getUDTs" -> meta.getUDTs(null, null, "%", null);
                        default -> meta.getClientInfoProperties();
                    };
                    switch (call) {
                        case "getTables" -> check(column(rows, "TABLE_NAME").equals(List.of("jdbc_t")), "tables");
                        case "getColumns" -> check(column(rows, "COLUMN_NAME").equals(List.of("id", "t", "n", "at", "d")), "columns");
                        case "getPrimaryKeys" -> check(column(rows, "COLUMN_NAME").equals(List.of("id")), "key");
                        default -> { while (rows.next()) { } }
                    }
                } catch (SQLException error) {
                    failed += call + ": " + error.getMessage().replace("\n", " ") + "\n";
                }
            }
            plain.execute("drop table jdbc_t");
            System.out.print(failed);
            System.out.println((failed.isEmpty() ? "ok " : "not all of the metadata, ") + meta.getDriverVersion());
            if (!failed.isEmpty()) System.exit(1);
        }
    }
}
