{# A timestamp with its time zone; one without a time zone is in UTC.
   A column that has a time zone already may only be cast to its own type: with any other expression
   engines do not use zone maps, indexes and partitions. #}
{% macro as_instant(expression) -%}
    {{ return(adapter.dispatch('as_instant')(expression)) }}
{%- endmacro %}

{# PostgreSQL uses the time zone of the session, so a run sets PGTZ=UTC. #}
{% macro default__as_instant(expression) -%}
    cast({{ expression }} as timestamp with time zone)
{%- endmacro %}

{# DuckDB evaluates typeof() when it plans the query, so only one branch is left. The result does
   not depend on the time zone of the session. #}
{% macro duckdb__as_instant(expression) -%}
    case
        when
            typeof({{ expression }}) in (
                'TIMESTAMP', 'TIMESTAMP_S', 'TIMESTAMP_MS', 'TIMESTAMP_NS', 'DATE'
            )
            then cast({{ expression }} as timestamp) at time zone 'UTC'
        else cast({{ expression }} as timestamp with time zone)
    end
{%- endmacro %}

{# Spark's timestamp has a time zone; the profile sets that of the session to UTC. #}
{% macro spark__as_instant(expression) -%}
    cast({{ expression }} as timestamp)
{%- endmacro %}
